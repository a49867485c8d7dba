// The runs that a mount resumes by itself: what becomes of them is logged.

internal import Logging
internal import Reports
internal import RunService
internal import Threads
internal import Tidemark
internal import Volume

extension ServedVolume {
    func resumeInterrupted(_ logger: Logger) -> DedicatedThread {
        let path = volume.path
        var observer = RunObserver()
        observer.onEvent = { if !$0.isDetail { logger.info("\($0)") } }
        return registry.resumeInterrupted(
            observer,
            willResume: { logger.info("run \($0.number) was interrupted, and is resumed") },
            onResult: { run in
                let number = run.record.number
                switch run.result {
                case .success(let report):
                    let lines = report.lines(
                        "run \(number)", isDryRun: run.record.isDryRun, isVerbose: false)
                    for line in lines { logger.info("\(line)") }
                case .failure(let error):
                    logger.error(
                        "run \(number) could not be resumed: \(explanation(of: error))")
                }
            },
            onEnd: { error in
                if let error { logger.error("\(path): \(explanation(of: error))") }
            })
    }
}
