// The pages of the metadata of a volume that is open, checked beside whoever uses it.

internal import LMDB
public import LMDBPages

extension Volume {
    /// Checks every page that the last commit reaches. Changes go on meanwhile; the pages of that
    /// commit are not used again before it has ended.
    /// - Throws: where the file can't be read; what is found in it is in the report.
    public func checkPages() throws -> PageReport {
        try checkNotClosed()
        core.commitAcknowledged()
        return try core.environment.checkPages()
    }
}

extension Environment {
    /// Checks every page of the last commit, which a reader holds meanwhile.
    func checkPages() throws -> PageReport {
        var failure: PageCheckError?
        // Between the beginning of the reader and the look at the meta pages others may commit
        // twice, and the commit's meta page is gone.
        for _ in 0..<16 {
            let reader = try beginRead()
            do throws(PageCheckError) {
                return try PageCheck.check(path, commit: reader.commit)
            } catch {
                failure = error
            }
        }
        throw failure ?? PageCheckError(operation: "check", path: path, errno: 11)
    }
}
