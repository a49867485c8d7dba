// Reads a tree of the host and hands it on in batches.

internal import HostFiles
internal import Synchronization

struct ImportReader: TreeVisitor {
    struct Options: Sendable {
        var copiesData = false
        var crossesMounts = false
        /// The volume's own directory: never imported into itself.
        var volume: HostIdentity?
    }

    /// Items of a batch: enough that a transaction is worth its commit.
    private static let batchItems = 512
    /// Open files of a batch.
    private static let batchFiles = 48

    private let options: Options
    private let queue: ImportQueue
    private let log: ImportLog
    private var paths: ImportPaths
    private var batch: [ImportItem] = []
    private var openFiles = 0
    /// Directories that are left out.
    private var skipped: Set<Int> = []
    private var device: UInt64?
    private(set) var mountPoints = 0
    /// Of the root directory, which gets them last.
    private var rootPermissions: UInt16?

    init(_ options: Options, root: String, _ queue: ImportQueue, _ log: ImportLog) {
        self.options = options
        self.queue = queue
        self.log = log
        paths = ImportPaths(root: root)
    }

    var isStopped: Bool { log.stopReason != nil || Signals.stopRequest != nil }

    /// Hands on what is left.
    mutating func finish() {
        if !batch.isEmpty { queue.add(batch) }
        batch = []
        queue.finish()
    }

    // MARK: TreeVisitor

    mutating func enter(
        _ number: Int, in parent: Int, _ name: [UInt8], _ directory: borrowing HostFile,
        _ status: HostStatus
    ) -> Bool {
        if status.identity == options.volume {
            skipped.insert(number)
            return false
        }
        if number > 0 { paths.add(number, in: parent, name) }
        var attributes: [HostAttribute] = []
        do throws(HostError) {
            attributes = try directory.attributes()
        } catch {
            log.add(paths.path(number, nil), "\(error)")
        }
        var status = status
        drop(&attributes, &status, paths.path(number, nil))
        if number == 0 { rootPermissions = status.permissions }
        add(
            ImportItem(
                action: .enter(number), parent: parent, name: name, status: status,
                attributes: attributes))
        guard let device else {
            self.device = status.identity.device
            return true
        }
        guard status.identity.device == device || options.crossesMounts else {
            mountPoints += 1
            return false
        }
        return true
    }

    mutating func leave(_ number: Int, _ status: HostStatus) {
        guard skipped.remove(number) == nil else { return }
        paths.remove(number)
        var status = status
        if number == 0, let rootPermissions { status.permissions &= rootPermissions }
        add(
            ImportItem(
                action: .leave(number), parent: number, name: [], status: status, attributes: []))
    }

    mutating func visit(
        _ name: [UInt8], in parent: Int, _ directory: borrowing HostFile, _ status: HostStatus
    ) {
        do {
            let action: ImportItem.Action
            switch status.type {
            case .regular?: action = try read(name, directory, status)
            case .symlink?: action = .symlink(try directory.target(of: name))
            case .directory?, nil: throw CommandFailure("of a type that a volume does not have")
            default: action = .node
            }
            var status = status, attributes = try directory.attributes(of: name)
            drop(&attributes, &status, paths.path(parent, name))
            add(
                ImportItem(
                    action: action, parent: parent, name: name, status: status,
                    attributes: attributes))
        } catch let error as HostError where error.isVanished {
            log.add(paths.path(parent, name), "vanished while the tree was read")
        } catch {
            log.add(paths.path(parent, name), "\(error)")
        }
    }

    /// Takes out what a volume does not keep, access control lists, and leaves permissions with
    /// which nobody may do more than before.
    private func drop(
        _ attributes: inout [HostAttribute], _ status: inout HostStatus,
        _ path: @autoclosure () -> String
    ) {
        var isDropped = false
        attributes.removeAll { attribute in
            guard attribute.name.starts(with: AccessListAttribute.namespace) else { return false }
            isDropped = true
            if attribute.name == AccessListAttribute.access {
                // One that can't be read may be as narrow as can be.
                let list = AccessList(attribute.value)
                status.permissions =
                    list?.narrowed(status.permissions) ?? status.permissions & ~0o77
            }
            return true
        }
        if isDropped { log.dropAccessList(path()) }
    }

    /// Where the file's data is. It is opened only where that has to be found out, or for the
    /// data itself.
    private mutating func read(
        _ name: [UInt8], _ directory: borrowing HostFile, _ status: HostStatus
    ) throws -> ImportItem.Action {
        guard status.size > 0 else { return .file([], nil) }
        guard options.copiesData || status.mayBeSparse else { return .file([0..<status.size], nil) }
        let file = try directory.open(name, for: .contents)
        guard try file.status().identity == status.identity else {
            throw HostError("open", errno: 2)
        }
        let ranges = try file.dataRanges(size: status.size)
        guard options.copiesData else { return .file(ranges, nil) }
        openFiles += 1
        return .file(ranges, ImportSource(file))
    }

    mutating func failed(_ name: [UInt8]?, in parent: Int, _ error: HostError) {
        let text = error.isVanished ? "vanished while the tree was read" : "\(error)"
        log.add(paths.path(parent, name), text)
    }

    private mutating func add(_ item: ImportItem) {
        batch.append(item)
        guard batch.count >= ImportReader.batchItems || openFiles >= ImportReader.batchFiles
        else { return }
        queue.add(batch)
        batch = []
        openFiles = 0
    }
}
