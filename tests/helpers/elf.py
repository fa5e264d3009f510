"""ELF files in what an artifact ships, read without the code that wrote them."""

import io
import struct
import zipfile

GNU_STACK, EXECUTABLE = 0x6474E551, 1


def libraries(files):
    """Each ELF file's bytes by name, of files and of the archives among them."""
    found = {}
    for name, data in files.items():
        if data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {f"{name}/{m}": archive.read(m) for m in archive.namelist()}
            found |= libraries(members)
        elif data.startswith(b"\x7fELF\x02\x01"):
            found[name] = data
    return found


def stack_flags(data):
    """The permissions that each header of the stack asks for, of a 64-bit little-endian file."""
    header = struct.Struct("<16sHHIQQQIHHHHHH")
    fields = header.unpack_from(data)
    offset, size, count = fields[5], fields[9], fields[10]
    headers = [struct.unpack_from("<II", data, offset + size * i) for i in range(count)]
    return [flags for kind, flags in headers if kind == GNU_STACK]
