/* Runs a program and says on standard error the most bytes of memory of its own that it ever had.
 *
 *     peak_anonymous PROGRAM ARGUMENT...
 *
 * Memory is given back by system calls alone, so what counts is what smaps says whenever one
 * begins. Exit code 77 where processes cannot be traced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT = 77 };

/* Kilobytes of anonymous memory, those of each mapping added up. */
static long anonymous(pid_t child) {
    static char text[1 << 18];
    char path[64];
    size_t count = 0;
    ssize_t more = 0;
    long sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps", (long)child);
    const int file = open(path, O_RDONLY);
    while (file >= 0 && (more = read(file, text + count, sizeof text - 1 - count)) > 0)
        count += (size_t)more;
    if (file >= 0) close(file);
    text[count] = '\0';
    for (const char *x = text; (x = strstr(x, "\nAnonymous:")); x++)
        sum += strtol(x + sizeof "\nAnonymous:" - 1, NULL, 10);
    return sum;
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    const pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(CANNOT);
        execv(arguments[1], arguments + 1);
        _exit(127);
    }
    int state = 0;
    long most = 0;
    if (child < 0 || waitpid(child, &state, 0) < 0 || !WIFSTOPPED(state)) {
        fprintf(stderr, "ptrace: %s\n", strerror(errno));
        return CANNOT;
    }
    while (ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0 && waitpid(child, &state, 0) >= 0 &&
           WIFSTOPPED(state)) {
        const long now = anonymous(child);
        if (now > most) most = now;
    }
    fprintf(stderr, "%ld\n", most * 1024);
    return WIFEXITED(state) ? WEXITSTATUS(state) : 1;
}
