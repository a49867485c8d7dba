// A mount as a service: what the service manager is told, with the privileges that the unit leaves.

import Foundation
import TestSupport
import Testing

@Suite(.enabled(if: canMount && getuid() == 0, "mounting as a service is root's"))
struct ServiceTests {
    /// The words of a line of the unit.
    private func setting(_ name: String) throws -> [String] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let unit = try String(
            contentsOf: root.appending(path: "Packaging/tidemark@.service"), encoding: .utf8)
        let line = try #require(unit.split(separator: "\n").first { $0.hasPrefix(name + "=") })
        return line.dropFirst(name.count + 1).split(separator: " ").map(String.init)
    }

    @Test func `the service manager hears when the mount is in use, and when it ends`() throws {
        try withDirectory { directory in
            let volume = directory + "/volume", point = directory + "/mnt"
            try FileManager.default.createDirectory(
                atPath: point, withIntermediateDirectories: false)
            try json("create", volume, "--size", "1G")
            let capabilities = try setting("CapabilityBoundingSet").map {
                "+" + $0.dropFirst("CAP_".count).lowercased()
            }
            let script = """
                import os, signal, socket, subprocess, sys
                program, volume, point, capabilities = sys.argv[1:]
                name = volume + ".notify"
                s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(name)
                s.settimeout(120)
                server = subprocess.Popen(
                    ["setpriv", "--no-new-privs", "--bounding-set", "-all," + capabilities,
                     "--inh-caps=-all", program, "mount", "--foreground", volume, point],
                    env=dict(os.environ, NOTIFY_SOCKET=name), stderr=subprocess.PIPE)
                try:
                    said = s.recv(4096).decode()
                    assert said.startswith("READY=1"), said
                    assert os.path.ismount(point)
                    path = point + "/file"
                    with open(path, "w") as file: file.write("contents")
                    os.chown(path, 1234, 1234); os.chmod(path, 0o600)
                    os.setxattr(path, "trusted.name", b"value")
                    os.mknod(point + "/null", 0o020666, os.makedev(1, 3))
                    assert open(path).read() == "contents"
                    server.send_signal(signal.SIGTERM)
                    assert s.recv(4096) == b"STOPPING=1"
                    assert server.wait(120) == 0, server.stderr.read()
                    assert not os.path.ismount(point)
                finally:
                    server.kill()
                """
            let words = ["python3", "-c", script, tidemark, volume, point]
            let ended = try Started(
                "/usr/bin/env", words + [capabilities.joined(separator: ",")]
            ).wait()
            defer { _ = try? shell("umount -l \"$1\" 2>/dev/null", point) }
            #expect(ended.status == 0, "\(ended.output) \(ended.errors)")
            try expectVerified(volume)
        }
    }
}
