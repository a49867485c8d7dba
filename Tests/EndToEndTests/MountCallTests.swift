// A mounted volume by the system calls that few programs make.

import Foundation
import TestSupport
import Testing

/// Runs a Python program in the mounted directory, and expects that it ends well.
private func expectPython(
    _ program: String, size: String = "2G", location: SourceLocation = #_sourceLocation
) throws {
    try withMount(size: size) { _, point in
        let words = ["python3", "-c", pythonWaiting + header + program, point]
        let ended = try Started("/usr/bin/env", words).wait(location: location)
        #expect(ended.status == 0, "\(ended.output) \(ended.errors)", sourceLocation: location)
    }
}

private let header = """
    import ctypes, errno, mmap, os, stat, sys
    os.chdir(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    def code(result):
        return "" if result == 0 else errno.errorcode[ctypes.get_errno()]
    def make(name, contents=b""):
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, contents)
        return file
    def error(call, *arguments):
        try: call(*arguments)
        except OSError as failure: return errno.errorcode[failure.errno]
        return ""

    """

@Suite(.enabled(if: canMount, "there is no /dev/fuse that could be opened"))
struct MountCallTests {
    @Test func `names are replaced, kept or exchanged as renameat2 says`() throws {
        try expectPython(
            """
            make("a", b"1"); make("b", b"2"); os.mkdir("d"); make("d/c")
            rename = lambda a, b, flags: code(libc.renameat2(-100, a, -100, b, flags))
            assert rename(b"a", b"b", 1) == "EEXIST"
            assert rename(b"a", b"b", 2) == "" and open("a").read() == "2"
            assert rename(b"a", b"d", 2) == "" and os.path.isdir("a") and open("d").read() == "2"
            assert rename(b"a", b"a/x", 0) == "EINVAL"
            assert rename(b"d", b"e", 4) == "EINVAL"
            assert rename(b"missing", b"e", 0) == "ENOENT"
            """)
    }

    @Test func `a file without a name lives while it is open, and can be given one`() throws {
        try expectPython(
            """
            file = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(file, b"kept")
            assert os.fstat(file).st_nlink == 0 and os.listdir(".") == []
            link = b"/proc/self/fd/%d" % file
            assert code(libc.linkat(-100, link, -100, b"named", 0x400)) == ""
            assert os.fstat(file).st_nlink == 1 and open("named").read() == "kept"
            lost = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(lost, b"x" * 100000)
            gone = make("gone", b"hello")
            os.unlink("gone"); os.fsync(gone)
            assert os.pread(gone, 10, 0) == b"hello" and os.fstat(gone).st_nlink == 0
            link = b"/proc/self/fd/%d" % gone
            assert code(libc.linkat(-100, link, -100, b"back", 0x400)) == "ENOENT"
            """)
    }

    @Test func `holes are made, told and read, also while the kernel holds unwritten bytes`() throws
    {
        try expectPython(
            """
            def seek(file, offset, kind):
                try: return os.lseek(file, offset, kind)
                except OSError as failure: return errno.errorcode[failure.errno]
            file = make("f", b"x" * 4096)
            os.pwrite(file, b"y" * 4096, 1 << 20)
            for _ in range(2):
                assert seek(file, 0, os.SEEK_HOLE) == 4096
                assert seek(file, 8192, os.SEEK_DATA) == 1 << 20
                assert seek(file, (1 << 20) + 5, os.SEEK_HOLE) == (1 << 20) + 4096
                assert seek(file, 2 << 20, os.SEEK_DATA) == "ENXIO"
                os.fsync(file)
            def allocate(mode, offset, length):
                return code(libc.fallocate(
                    file, mode, ctypes.c_long(offset), ctypes.c_long(length)))
            assert allocate(1, 0, 4 << 20) == "" and os.fstat(file).st_size == (1 << 20) + 4096
            assert os.fstat(file).st_blocks == (4 << 20) / 512
            assert allocate(0, 0, 4 << 20) == "" and os.fstat(file).st_size == 4 << 20
            os.pwrite(file, b"z" * 65536, 0)
            assert allocate(3, 4096, 8192) == ""
            assert os.pread(file, 16384, 0) == b"z" * 4096 + bytes(8192) + b"z" * 4096
            assert allocate(0x10, 0, 100) == "" and os.pread(file, 101, 0) == bytes(100) + b"z"
            assert allocate(0x08, 0, 4096) in ("EOPNOTSUPP", "ENOTSUP")
            """)
    }

    @Test func `bytes come back by copy, map, direct access and handle`() throws {
        try expectPython(
            """
            contents = os.urandom(3 << 20)
            source, target = make("source", contents), make("target")
            done = 0
            while done < len(contents):
                done += os.copy_file_range(source, target, len(contents) - done, done, done)
            assert os.pread(target, 4 << 20, 0) == contents
            page = mmap.mmap(target, 4096)
            page[0:4] = b"page"; page.flush()
            assert os.pread(target, 4, 0) == b"page"
            block = mmap.mmap(-1, 8192); block.write(b"D" * 8192)
            direct = os.open("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            os.writev(direct, [block])
            assert open("direct").read() == "D" * 8192
            class Handle(ctypes.Structure):
                _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int),
                            ("bytes", ctypes.c_ubyte * 128)]
            handle, mount = Handle(), ctypes.c_int()
            handle.size = 128
            assert code(libc.name_to_handle_at(
                -100, b"direct", ctypes.byref(handle), ctypes.byref(mount), 0)) == ""
            if os.geteuid() == 0:
                here = os.open(".", os.O_RDONLY)
                file = libc.open_by_handle_at(here, ctypes.byref(handle), os.O_RDONLY)
                assert file >= 0 and os.read(file, 2) == b"DD"
            """)
    }

    @Test
    func `reads of all sizes find what is written, and zeroes where nothing is`()
        throws
    {
        try expectPython(
            """
            import random
            size, part = (3 << 20) + 777, 200 << 10
            file, other = make("f"), make("other")
            expected = bytearray(os.urandom(size))
            # Pieces of two files in turn, so that they lie apart.
            for at in range(0, size, part):
                os.pwrite(file, expected[at:at + part], at); os.fdatasync(file)
                os.pwrite(other, b"o" * part, at); os.fdatasync(other)
            def allocate(mode, offset, length):
                assert code(libc.fallocate(
                    file, mode, ctypes.c_long(offset), ctypes.c_long(length))) == ""
                expected[offset:offset + length] = bytes(length)
            allocate(0x03, 700 << 10, 100 << 10)
            allocate(0x10, 1500 << 10, 64 << 10)
            allocate(0x03, (2 << 20) + 300, 5000)
            os.fsync(file)
            direct = os.open("f", os.O_RDONLY | os.O_DIRECT)
            memory = mmap.mmap(-1, 4 << 20)
            def check(offset, count):
                got = os.preadv(direct, [memoryview(memory)[:count]], offset)
                assert memory[:got] == expected[offset:offset + count], ("direct", offset, count)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                got = os.pread(file, count, offset)
                assert got == expected[offset:offset + count], ("cached", offset, count)
            for count in [4096, 28672, 32768, 36864, 65536, 131072, 1 << 20, 4 << 20]:
                for offset in [0, 4096, 192 << 10, (1 << 20) - 8192, 2 << 20, 3 << 20]:
                    check(offset, count)
            source = random.Random(7)
            for _ in range(100):
                check(source.randrange(size), source.randrange(1, 1 << 20))
            """)
    }

    @Test func `a read beside overwrites and truncates sees no bytes of another file`() throws {
        try expectPython(
            """
            import threading
            end, seen, written = threading.Event(), [0], {"a": 0, "b": 0, "c": 0}
            size = 512 << 10
            failures = []
            def block(byte):
                memory = mmap.mmap(-1, size); memory.write(byte * size); return memory
            def write(name, byte, after):
                try:
                    contents = block(byte)
                    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
                    while not end.is_set():
                        os.pwritev(file, [contents], 0)
                        os.pwritev(file, [contents], 0)
                        after(file)
                        written[name] += 1
                except Exception as failure: failures.append(repr(failure))
            def read(name, byte):
                try:
                    memory = mmap.mmap(-1, size)
                    file = os.open(name, os.O_RDONLY | os.O_CREAT | os.O_DIRECT)
                    while not end.is_set():
                        got = os.preadv(file, [memory], 0)
                        wrong = memory[:got].translate(None, b"\\0" + byte)
                        if wrong: failures.append((name, got, wrong[:10]))
                        seen[0] += got > 0
                except Exception as failure: failures.append(repr(failure))
            threads = [threading.Thread(target=work, args=words) for work, *words in [
                (write, "a", b"A", lambda file: os.ftruncate(file, 0)),
                (write, "b", b"B", lambda file: os.ftruncate(file, 4096)),
                (write, "c", b"C", lambda file: os.unlink("c") if os.path.exists("c") else None),
                (read, "a", b"A"), (read, "b", b"B")]]
            for thread in threads: thread.start()
            until(lambda: failures or seen[0] > 200 and min(written.values()) > 50, "writes")
            end.set()
            for thread in threads: thread.join()
            assert not failures, failures[:3]
            """, size: "8M")
    }

    @Test func `attributes of all kinds and sizes are kept, and lists of access rights refused`()
        throws
    {
        try expectPython(
            """
            make("f"); os.mkdir("d"); os.symlink("f", "s")
            kinds = ["user.a"] + (["trusted.b", "security.c"] if os.geteuid() == 0 else [])
            for name in kinds:
                os.setxattr("f", name, b"value")
                assert os.getxattr("f", name) == b"value"
            os.setxattr("f", "user.large", b"q" * 60000)
            assert os.getxattr("f", "user.large") == b"q" * 60000
            assert sorted(os.listxattr("f")) == sorted(kinds + ["user.large"])
            assert error(os.setxattr, "f", "user.a", b"", os.XATTR_CREATE) == "EEXIST"
            assert error(os.setxattr, "f", "user.z", b"", os.XATTR_REPLACE) == "ENODATA"
            os.removexattr("f", "user.large")
            assert error(os.getxattr, "f", "user.large") == "ENODATA"
            rights = b"\\x02\\0\\0\\0"
            assert error(os.setxattr, "f", "system.posix_acl_access", rights) in (
                "EOPNOTSUPP", "ENOTSUP")
            """)
    }

    @Test func `times are those that were set, and setuid bits go when others write`() throws {
        try expectPython(
            """
            file = make("f", b"abc")
            os.utime(file, ns=(1_000_000_001, 2_000_000_002)); os.close(file)
            status = os.stat("f")
            assert (status.st_atime_ns, status.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
            os.chmod("f", 0o4777)
            os.chmod(".", 0o777)
            if os.geteuid() == 0:
                if os.fork() == 0:
                    os.setgid(65534); os.setuid(65534)
                    file = os.open("f", os.O_WRONLY); os.write(file, b"x"); os.close(file)
                    os._exit(0)
                os.wait()
                assert stat.S_IMODE(os.stat("f").st_mode) == 0o777
                os.chmod("f", 0o6755); os.chown("f", 5, 6)
                assert stat.S_IMODE(os.stat("f").st_mode) == 0o755
                os.mkdir("g"); os.chown("g", 5, 6); os.chmod("g", 0o2777)
                make("g/f"); os.mkdir("g/d")
                assert os.stat("g/f").st_gid == 6 and os.stat("g/d").st_mode & 0o2000
            """)
    }

    @Test(.enabled(if: getuid() == 0, "another user is needed"))
    func `setuid goes with each change of contents by others, for the kernel too`() throws {
        try expectPython(
            """
            import shutil, subprocess
            libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
            program = shutil.which("id"); size = os.stat(program).st_size
            make("source", b"s" * 20000)
            changes = {
                "write": lambda file: os.pwrite(file, b"\\0", size),
                "reserve": lambda file: libc.fallocate(file, 0, 0, size + 9000),
                "keep": lambda file: libc.fallocate(file, 1, size + 9000, 4096),
                "punch": lambda file: libc.fallocate(file, 3, size + 9000, 4096),
                "zero": lambda file: libc.fallocate(file, 0x10, size + 9000, 4096),
                "copy": lambda file: os.copy_file_range(
                    os.open("source", os.O_RDONLY), file, 8192, 0, size),
                "truncate": lambda file: os.ftruncate(file, size + 100),
            }
            os.chmod(".", 0o777)
            def other(call):
                child = os.fork()
                if child == 0:
                    os.setgroups([]); os.setgid(65534); os.setuid(65534)
                    try: call()
                    except BaseException as failure:
                        os.write(2, repr(failure).encode()); os._exit(1)
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            for name, change in changes.items():
                shutil.copyfile(program, name); os.chmod(name, 0o6777); os.sync()
                call = ["./" + name, "-u"]
                ask = lambda: subprocess.run(call, capture_output=True, text=True).stdout.strip()
                def before(): assert ask() == "0", "the mount knows no setuid"
                def after():
                    change(os.open(name, os.O_RDWR))
                def seen(): assert ask() == "65534", name
                other(before); other(after); other(seen)
                assert stat.S_IMODE(os.stat(name).st_mode) == 0o777, name
            # Root keeps them.
            os.chmod("source", 0o6777); libc.fallocate(os.open("source", os.O_RDWR), 0, 0, 90000)
            assert stat.S_IMODE(os.stat("source").st_mode) == 0o6777
            """)
    }

    @Test func `a file with contents has sectors, whoever holds the contents`() throws {
        try expectPython(
            """
            file = make("f", b"a line of a log\\n" * 100)
            assert os.fstat(file).st_blocks > 0 and os.stat("f").st_blocks > 0
            assert [e.stat().st_blocks > 0 for e in os.scandir(".")] == [True]
            os.chmod("f", 0o600); assert os.stat("f").st_blocks > 0
            os.fsync(file); assert os.stat("f").st_blocks > 0
            mapped = os.open("m", os.O_RDWR | os.O_CREAT); os.ftruncate(mapped, 8192)
            memory = mmap.mmap(mapped, 8192); memory[5000] = 7
            assert os.stat("m").st_blocks > 0
            link = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600); os.write(link, b"x")
            assert os.fstat(link).st_blocks > 0
            """)
    }

    @Test func `a position in a directory stays good after a return to its beginning`() throws {
        try expectPython(
            """
            os.mkdir("d"); names = ["f%05d" % n for n in range(2000)]
            for name in names: os.close(os.open("d/" + name, os.O_CREAT))
            for call, result, arguments in (
                ("opendir", ctypes.c_void_p, [ctypes.c_char_p]),
                ("readdir", ctypes.c_void_p, [ctypes.c_void_p]),
                ("telldir", ctypes.c_long, [ctypes.c_void_p]),
                ("seekdir", None, [ctypes.c_void_p, ctypes.c_long])):
                function = getattr(libc, call); function.restype = result
                function.argtypes = arguments
            stream = libc.opendir(b"d"); places = {}
            def name():
                entry = libc.readdir(stream)
                return ctypes.string_at(entry + 19).decode() if entry else None
            first = libc.telldir(stream)
            while True:
                place = libc.telldir(stream); here = name()
                if here is None: break
                places[here] = place
            assert len(places) == 2002
            for turn in range(3):
                libc.seekdir(stream, first); seen = 0
                while name() is not None: seen += 1
                # Others come and go in between.
                os.close(os.open("d/a%d" % turn, os.O_CREAT))
                os.close(os.open("d/f01000-%d" % turn, os.O_CREAT))
                os.unlink("d/f%05d" % (turn * 3))
                for wanted in ("f00900", "f01999", "f01501", "..", "."):
                    libc.seekdir(stream, places[wanted]); assert name() == wanted, wanted
                libc.seekdir(stream, places["f00003"])
                assert name() == ("f00003" if turn == 0 else "f00004")
            """)
    }

    @Test func `write fails soon on a full volume, and overwrites go on`() throws {
        try expectPython(
            """
            file = os.open("fill", os.O_RDWR | os.O_CREAT); written = 0
            def fill():
                global written
                while written < 1 << 30: written += os.write(file, b"f" * (1 << 20))
            assert error(fill) == "ENOSPC", written >> 20
            # Beyond that at most what the kernel holds: twice 1 % of its limit of 20 %.
            held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 250
            assert written <= (16 << 20) + held, written >> 20
            # A second writer, of small pieces.
            second = os.open("second", os.O_RDWR | os.O_CREAT); written = 0
            def trickle():
                global written
                while written < 1 << 30: written += os.write(second, b"s" * 4096)
            assert error(trickle) == "ENOSPC", written
            assert written <= held, written
            # What has its blocks can be written. Failures of before are told once more at most, to
            # fsync and to write.
            over = os.open("fill", os.O_RDWR)
            def again():
                for place in range(0, 4 << 20, 1 << 20):
                    os.pwrite(over, b"o" * (1 << 20), place); os.fsync(over)
            assert "" in [error(again), error(again), error(again)]
            assert os.pread(over, 4, 3 << 20) == b"oooo"
            """, size: "16M")
    }

    @Test func `a full volume says so, and takes bytes again when some are deleted`() throws {
        try expectPython(
            """
            free = os.statvfs(".")
            file = os.open("fill", os.O_WRONLY | os.O_CREAT)
            def fill():
                while True: os.write(file, b"f" * (1 << 20)); os.fsync(file)
            assert error(fill) == "ENOSPC"
            try: os.close(file)
            except OSError: pass
            os.unlink("fill")
            until(lambda: os.statvfs(".").f_bfree == free.f_bfree, "space given back")
            again = make("again", b"a" * (1 << 20)); os.fsync(again)
            """, size: "16M")
    }
}
