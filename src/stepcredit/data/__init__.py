"""Records from and to files: one module per format, streaming, with errors that name file, line and field.

    read(path) -> one Record per attempt          group(records) -> one Record per problem          write(path, records)

A format is a module here named as its file. What a file holds is told by its name and its first row (`format="auto"`),
or by `format=`. Knobs are the keyword arguments of the format's `parse` (reading) and `rows` (writing).
"""

from stepcredit.data._formats import FORMATS, WRITABLE, read, write
from stepcredit.data._group import group

__all__ = ["FORMATS", "WRITABLE", "group", "read", "write"]
