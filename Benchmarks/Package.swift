// swift-tools-version: 6.2
// A package of its own, so that nobody who builds Tidemark builds its benchmarks.
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "Benchmarks",
    dependencies: [.package(name: "Tidemark", path: "..")],
    targets: [
        .target(name: "CBaseline", linkerSettings: [.linkedLibrary("lmdb")]),
        .target(
            name: "VolumeGenerator",
            dependencies: [.product(name: "VolumeFormat", package: "Tidemark")],
            swiftSettings: strict),
        .executableTarget(
            name: "Bench",
            dependencies: [
                "CBaseline", "VolumeGenerator",
                .product(name: "Tidemark", package: "Tidemark"),
                .product(name: "Volume", package: "Tidemark"),
                .product(name: "VolumeFormat", package: "Tidemark"),
            ],
            swiftSettings: strict),
    ]
)
