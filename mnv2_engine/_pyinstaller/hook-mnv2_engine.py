"""What PyInstaller does not find by itself: what the compiled core imports, and data files."""

from PyInstaller.utils.hooks import collect_data_files

hiddenimports = ["_cffi_backend", "mnv2_engine._core"]
datas = collect_data_files("mnv2_engine")
