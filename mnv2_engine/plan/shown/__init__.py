"""A plan for people: figures, table, drawing, SVG."""
