// The server: one thread that takes connections, one for each client.
//
// - The socket is bound under another name, made private, listened on, and only then renamed
//   to its own: nobody ever meets one that is not ready, or open to others. A socket that a
//   dead process has left refuses connections; it is replaced by that rename.
// - Waiting for a client is bounded everywhere: by time, by the length of its line, by the
//   number of clients.

#if canImport(Glibc)
internal import Glibc
#endif
internal import Synchronization
internal import Threads

public final class ControlServer: Sendable {
    public struct Limits: Sendable {
        /// Clients at a time; others are sent away.
        public var clients = 32
        /// Seconds that a client may be silent between requests.
        public var idle = 30.0
        /// Seconds for a line, from its first byte on, and for an answer to be taken.
        public var line = 5.0
        /// Seconds for a part of an answer to be taken: its reader may be a pager.
        public var part = 60.0

        public init() {}
    }

    public static let name = "control.sock"

    private let folder: SocketFolder
    private let listener: Int32
    /// Hung up to wake all threads at the end.
    private let stopReader, stopWriter: Int32
    private let isStopped = Atomic<Bool>(false)
    private let inode: UInt64
    private let table: ControlTable
    private let limits: Limits
    private let clients = Monitor(0)
    private let thread = Monitor<DedicatedThread?>(nil)

    /// Begins to serve.
    /// - Parameter folder: the directory of the volume.
    /// - Throws: `served` where another process does; then nothing was changed.
    public init(folder path: String, table: ControlTable, limits: Limits = Limits()) throws {
        folder = try SocketFolder(path: path)
        self.table = table
        self.limits = limits
        try ControlServer.checkFree(folder)
        (listener, inode) = try ControlServer.listen(folder)
        var ends: (Int32, Int32) = (-1, -1)
        let code = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self))
        }
        (stopReader, stopWriter) = ends
        guard code == 0 else {
            folder.remove(ControlServer.name)
            throw ControlError.system("make a pipe for", path)
        }
        for end in [stopReader, stopWriter] { prepare(end) }
        thread.withLock { $0 = DedicatedThread(name: "control") { [self] in accept() } }
    }

    /// Takes no more requests, and waits for no client any more.
    public func stop() {
        if !isStopped.exchange(true, ordering: .relaxed) { Glibc.close(stopWriter) }
    }

    /// Stops, waits for what is done for clients, and takes the socket away. To be called once.
    public func close() {
        stop()
        thread.withLock { $0.take() }?.join()
        clients.wait { $0 == 0 ? () : nil }
        // Another's socket may lie there by now.
        if let own = try? folder.look(ControlServer.name), own.inode == inode {
            folder.remove(ControlServer.name)
        }
        Glibc.close(listener)
        Glibc.close(stopReader)
    }

    /// Whether `stop` was called.
    var isStopping: Bool { isStopped.load(ordering: .relaxed) }

    // MARK: The socket

    private static func checkFree(_ folder: SocketFolder) throws(ControlError) {
        guard let found = try folder.look(name) else { return }
        guard found.isSocket else { throw .inTheWay("\(folder.path)/\(name)") }
        do throws(ControlError) {
            Glibc.close(try connectSocket(folder, name))
        } catch .notServed {
            return
        }
        throw .served(folder.path)
    }

    private static func listen(
        _ folder: SocketFolder
    ) throws(ControlError) -> (Int32, inode: UInt64) {
        let listener = try makeSocket(folder.path)
        let temporary = "\(name).\(getpid())"
        folder.remove(temporary)
        var address = folder.address(temporary)
        let code = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else {
            let error = ControlError.system("make a socket in", folder.path)
            Glibc.close(listener)
            throw error
        }
        guard unsafe fchmodat(folder.descriptor, temporary, 0o600, 0) == 0,
            Glibc.listen(listener, 128) == 0,
            let inode = try folder.look(temporary)?.inode,
            unsafe renameat(folder.descriptor, temporary, folder.descriptor, name) == 0
        else {
            let error = ControlError.system("make a socket in", folder.path)
            folder.remove(temporary)
            Glibc.close(listener)
            throw error
        }
        return (listener, inode)
    }

    // MARK: Clients

    private func accept() {
        while true {
            var wanted = [
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stopReader, events: Int16(POLLIN), revents: 0),
            ]
            unsafe poll(&wanted, 2, -1)
            if wanted[1].revents != 0 { return }
            let descriptor = Glibc.accept(listener, nil, nil)
            guard descriptor >= 0 else {
                // Out of descriptors or memory: it may pass.
                if Glibc.errno != EAGAIN, Glibc.errno != EINTR { usleep(10_000) }
                continue
            }
            prepare(descriptor)
            admit(descriptor)
        }
    }

    private func admit(_ descriptor: Int32) {
        let isAdmitted = clients.withLock { count in
            guard count < limits.clients else { return false }
            count += 1
            return true
        }
        guard isAdmitted else {
            let text = "\(limits.clients) clients are connected already; try again"
            try? Connection(descriptor: descriptor).send(
                ControlTable.line(ControlRefusal("busy", text)), within: 0)
            return
        }
        _ = DedicatedThread(name: "control-client") { [self] in
            serve(Connection(descriptor: descriptor))
            clients.withLock(notify: true) { $0 -= 1 }
        }
    }

    /// Answers line after line, until the client has gone, or is too slow.
    private func serve(_ connection: consuming Connection) {
        guard let peer = connection.peer, peer.user == geteuid() || peer.user == 0 else {
            refuse(connection, "notPermitted", "only the user of this process, or root, may ask it")
            return
        }
        while true {
            let line: [UInt8]
            do throws(Connection.Failure) {
                line = try connection.line(
                    atMost: Wire.longestRequest, first: limits.idle, whole: limits.line,
                    wakeup: stopReader)
            } catch .tooLong {
                let text = "a request has at most \(Wire.longestRequest) bytes"
                return refuse(connection, "tooLong", text)
            } catch {
                return
            }
            let sender = PartSender(
                descriptor: connection.descriptor, patience: limits.part, wakeup: stopReader)
            let answer = table.answer(line, peer, sender)
            // An answer with holes in it is none: its end is not told.
            guard sender.close() else { return }
            do throws(Connection.Failure) {
                try connection.send(
                    answer, within: limits.line, wakeup: stopReader)
            } catch {
                return
            }
        }
    }

    private func refuse(_ connection: borrowing Connection, _ code: String, _ message: String) {
        let line = ControlTable.line(ControlRefusal(code, message))
        try? connection.send(line, within: limits.line, wakeup: stopReader)
    }
}
