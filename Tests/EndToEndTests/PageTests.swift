// The process that serves the page, over real sockets: what it answers, what it refuses, and
// clients that misbehave. In a process of its own, as it always is: there it has the threads that
// it needs.

import Foundation
import TestSupport
import Testing

@Suite struct PageTests {
    /// Runs a script in Python, which has `address` (host, port) and `ask`, against a page.
    private func withPage(_ script: String, _ volume: String) throws {
        let frame = """
            import fcntl, os, socket, subprocess, sys
            # It says where it listens on descriptor 3.
            reading, writing = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in os.pipe())
            os.dup2(writing, 3)
            words = [sys.argv[1], "dashboard", sys.argv[2], "--address", "0"]
            page = subprocess.Popen(words, pass_fds=(3,))
            os.close(3)
            os.close(writing)
            url = os.read(reading, 100).decode()
            address = ("127.0.0.1", int(url.strip().strip("/").split(":")[-1]))

            def send(text):
                with socket.create_connection(address, timeout=120) as client:
                    client.sendall(text.encode())
                    answer = b""
                    while part := client.recv(65536):
                        answer += part
                    return answer.decode()

            def ask(path, host="localhost", method="GET"):
                return send(f"{method} {path} HTTP/1.1\\r\\nHost: {host}\\r\\n"
                            "Connection: close\\r\\n\\r\\n")

            def expect(answer, *parts):
                for part in parts:
                    assert part in answer, (part, answer[:400])

            try:
            """
        let body = script.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
        let whole =
            pythonWaiting + frame + "\n" + body
            + "\nfinally:\n    page.terminate(); page.wait()\n"
        let ended = try Started("/usr/bin/env", ["python3", "-c", whole, tidemark, volume]).wait()
        #expect(ended.status == 0, "\(ended.errors)")
    }

    @Test func `the page and its parts are there, and nothing else`() throws {
        try withVolume(files: 5) { volume in
            try withPage(
                """
                for path, kind, text in [
                        ("/", "text/html", "<title>Tidemark</title>"),
                        ("/page.css", "text/css", ":root"),
                        ("/page.js", "text/javascript", "use strict")]:
                    expect(ask(path), "HTTP/1.1 200 ", "Content-Type: " + kind, text,
                           "default-src 'none'", "nosniff")
                expect(ask("/other"), "HTTP/1.1 404 ")
                """, volume)
        }
    }

    @Test func `other hosts and other methods are refused`() throws {
        try withVolume(files: 5) { volume in
            try withPage(
                """
                for path in ["/", "/status", "/metrics", "/nothing"]:
                    for host in ["evil.example", "10.0.0.1", ""]:
                        expect(ask(path, host=host), "HTTP/1.1 403 ")
                    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"]:
                        expect(ask(path, method=method), "HTTP/1.1 405 ")
                expect(send("GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n"), "HTTP/1.1 403 ")
                """, volume)
        }
    }

    @Test func `what can't be asked is said, and asked again`() throws {
        try withVolume(files: 50) { volume in
            try withPage(
                """
                expect(ask("/status"), "HTTP/1.1 503 ", "no process is at work")
                expect(ask("/metrics"), "HTTP/1.1 503 ")
                run = subprocess.Popen([sys.argv[1], "repair", sys.argv[2], "--speed-limit", "1"])
                until(lambda: '"scanning"' in ask("/status"), "scan")
                expect(ask("/status"), "HTTP/1.1 200 ", '"command":"repair"', '"scanning"')
                run.terminate()
                run.wait()
                # What was answered last is answered for a while.
                until(lambda: "HTTP/1.1 503 " in ask("/status"), "end of the run")
                """, volume)
        }
    }

    @Test func `clients that send rubbish, too much, or nothing keep nobody out`() throws {
        try withVolume(files: 5) { volume in
            try withPage(
                """
                def connected():
                    try:
                        return socket.create_connection(address)
                    except OSError:
                        return None
                def connect():
                    # Out of descriptors the server closes its socket for a moment.
                    return until(connected, "place for another client")

                silent = [connect() for _ in range(400)]
                for text in ["rubbish\\r\\n\\r\\n", "\\r\\n", "GET\\r\\n\\r\\n", "x" * 100000]:
                    client = connect()
                    try:
                        client.sendall(text.encode())
                    except OSError:
                        pass
                    client.close()
                def is_let_in():
                    try:
                        expect(ask("/"), "HTTP/1.1 200 ")
                        return True
                    except OSError:
                        return False
                until(is_let_in, "place for another client")
                assert page.poll() is None
                """, volume)
        }
    }
}
