// What others may ask of the registry's runs, and the socket that they ask through.

public import Control
internal import Threads
public import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

extension RunRegistry {
    /// What this process does on request.
    public var controlTable: ControlTable {
        var table = ControlTable()
        table.add(RunVerbs.status) { _, _ in self.live }
        table.add(RunVerbs.stop) { request, peer in
            for handle in try self.handles(of: request.run) {
                handle.controls.stop("stopped by user \(peer.user), process \(peer.process)")
            }
            return self.live
        }
        table.add(RunVerbs.pause) { request, _ in
            for handle in try self.handles(of: request.run) { handle.controls.pause(true) }
            return self.live
        }
        table.add(RunVerbs.resume) { request, _ in
            for handle in try self.handles(of: request.run) { handle.controls.pause(false) }
            return self.live
        }
        table.add(RunVerbs.set) { request, _ in
            for handle in try self.handles(of: request.run) {
                do throws(LimitChange.Refusal) {
                    try handle.controls.change(request.change ?? LimitChange())
                } catch {
                    throw ControlRefusal("badLimit", "\(error)")
                }
            }
            return self.live
        }
        return table
    }

    /// Those of the run, or, where none is named, all.
    private func handles(of run: Int?) throws(ControlRefusal) -> [RunHandle] {
        let (work, handles) = state.withLock { ($0.work, $0.handles) }
        guard let run else {
            guard handles.isEmpty else { return handles }
            throw ControlRefusal("noSuchRun", "no run is at work; `tidemark repair` begins one")
        }
        if let found = work.first(where: { $0.number == run }) { return [found.handle] }
        let known = work.map { "\($0.number)" }.joined(separator: ", ")
        throw ControlRefusal(
            "noSuchRun",
            "no run \(run) is at work; "
                + (work.isEmpty ? "none is" : "give \(known), or no number"))
    }

    /// Registers with a registry of this command's own while `body` works, and serves the store's
    /// control socket meanwhile. A run that can't be steered is run all the same.
    public static func withOwnHandle<R>(
        _ store: any RunStore, command: String, _ limits: RunLimits, _ observer: RunObserver,
        _ body: (RunHandle) throws -> R
    ) throws -> R {
        let registry = RunRegistry(store, command: command)
        var server: ControlServer?
        do {
            server = try ControlServer(folder: store.path, table: registry.controlTable)
        } catch ControlError.served where store.isReadOnly {
            // Several checks may look at a store at a time; the first one is the one that is asked.
            observer.onEvent(
                .notSteerable(store.path, why: "another check is served there", isExpected: true))
        } catch {
            // Where nothing can be written, nobody expects a socket.
            observer.onEvent(
                .notSteerable(store.path, why: "\(error)", isExpected: error.isReadOnlyMedium))
        }
        defer { server?.close() }
        return try registry.withHandle(limits, body)
    }
}

extension Error {
    /// Whether nothing can be written where the socket was to be.
    fileprivate var isReadOnlyMedium: Bool {
        guard case .system(_, _, let number) = self as? ControlError else { return false }
        return number == EROFS
    }
}
