// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
    // Deliberate mistakes of the protocol, which tests must catch: never in a release build.
    .define("TIDEMARK_MUTANTS", .when(configuration: .debug)),
]
/// For the modules that touch pointers: every use is marked `unsafe`.
let pointers: [SwiftSetting] = strict + [.strictMemorySafety()]

let package = Package(
    name: "Tidemark",
    products: [
        .executable(name: "tidemark", targets: ["TidemarkCommand"]),
        .library(name: "Tidemark", targets: ["Tidemark", "GenerationLife"]),
        // To explore a store of one's own: Docs/adopting.md.
        .library(name: "Scenarios", targets: ["Scenarios", "Inspection", "Catalogue"]),
        .library(name: "Volume", targets: ["Volume", "VolumeService", "VolumeVerify"]),
        .library(name: "RunService", targets: ["RunService", "Control", "Meters"]),
        .library(
            name: "VolumeFormat", targets: ["VolumeFormat", "VolumeIndexes", "LMDB", "Bytes"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
    ],
    targets: [
        .systemLibrary(name: "CLMDB", pkgConfig: "lmdb", providers: [.apt(["liblmdb-dev"])]),
        .systemLibrary(name: "CISAL", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),
        .systemLibrary(name: "CFUSE", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
        .target(name: "Bytes", dependencies: ["CISAL"], swiftSettings: pointers),
        .target(name: "LMDB", dependencies: ["Bytes", "CLMDB"], swiftSettings: pointers),
        .target(name: "LMDBPages", dependencies: ["Bytes"], swiftSettings: pointers),
        .target(name: "Threads", swiftSettings: pointers),
        .target(name: "Meters", dependencies: ["Threads"], swiftSettings: pointers),
        // The framework, bottom up. Each layer knows those above it in this list, and no other;
        // `LayerTests` holds the list against the imports.
        .target(name: "Mutation", swiftSettings: strict),
        .target(name: "Entries", dependencies: ["Bytes"], swiftSettings: pointers),
        .target(name: "Contract", dependencies: ["Bytes", "Entries"], swiftSettings: pointers),
        .target(
            name: "Feed", dependencies: ["Bytes", "Threads", "Entries", "Contract", "Mutation"],
            swiftSettings: pointers),
        .target(
            name: "Shadow", dependencies: ["Bytes", "Entries", "Contract", "Feed", "Mutation"],
            swiftSettings: pointers),
        .target(
            name: "SideFile",
            dependencies: [
                "Bytes", "LMDB", "LMDBPages", "Entries", "Contract", "Feed", "Shadow",
            ],
            swiftSettings: pointers),
        .target(
            name: "Engine",
            dependencies: [
                "Bytes", "Threads", "Meters", "Entries", "Contract", "Feed", "Shadow", "Mutation",
            ],
            swiftSettings: pointers),
        .target(
            name: "Driver",
            dependencies: [
                "Bytes", "Threads", "Entries", "Contract", "Feed", "Shadow", "Engine", "Mutation",
            ],
            swiftSettings: pointers),
        .target(name: "GenerationLife", swiftSettings: strict),
        // What explores and tests need to know of a run. Nothing of a release stands on it but the
        // commands that play scenarios.
        .target(
            name: "Inspection",
            dependencies: ["Bytes", "Threads", "Entries", "Contract", "Feed", "Shadow", "Engine"],
            swiftSettings: pointers),
        .target(
            name: "Tidemark",
            dependencies: [
                "Entries", "Contract", "Feed", "Shadow", "SideFile", "Engine", "Driver", "Mutation",
            ],
            swiftSettings: strict),
        .target(name: "Control", dependencies: ["Bytes", "Threads"], swiftSettings: pointers),
        .target(name: "Reports", dependencies: ["Bytes", "Tidemark"], swiftSettings: strict),
        .target(
            name: "RunService",
            dependencies: ["Control", "Meters", "Reports", "Threads", "Tidemark"],
            swiftSettings: strict),
        .target(
            name: "Catalogue", dependencies: ["Bytes", "GenerationLife", "Tidemark", "Threads"],
            swiftSettings: strict),
        .target(name: "VolumeFormat", dependencies: ["Bytes"], swiftSettings: strict),
        .target(
            name: "VolumeIndexes", dependencies: ["Bytes", "Tidemark", "VolumeFormat"],
            swiftSettings: strict),
        .target(
            name: "Volume",
            dependencies: [
                "Bytes", "CSplice", "GenerationLife", "LMDB", "LMDBPages", "Meters", "Threads",
                "Tidemark", "VolumeFormat",
                "VolumeIndexes", "VolumeVerify",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: pointers),
        .target(
            name: "VolumeMount",
            dependencies: [
                "Bytes", "CFUSE", "CSplice", "LMDB", "Meters", "Threads", "Volume",
                "VolumeFormat",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: pointers),
        .target(
            name: "VolumeService",
            dependencies: [
                "Bytes", "Meters", "RunService", "Tidemark", "Volume", "VolumeFormat",
            ],
            swiftSettings: strict),
        .target(
            name: "Scrub",
            dependencies: [
                "Driver", "Reports", "RunService", "Threads", "Tidemark", "Volume",
                "VolumeFormat", "VolumeService", "VolumeVerify",
            ],
            swiftSettings: strict),
        .target(
            name: "VolumeVerify", dependencies: ["Bytes", "LMDB", "LMDBPages", "VolumeFormat"],
            swiftSettings: strict),
        .target(
            name: "Scenarios",
            dependencies: [
                "Bytes", "Catalogue", "GenerationLife", "Inspection", "LMDB", "Threads", "Tidemark",
                "Volume", "VolumeFormat", "VolumeIndexes", "VolumeVerify",
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict),
        .target(
            name: "Dashboard",
            dependencies: [
                "Reports", "Threads", .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
            ],
            resources: [
                .embedInCode("page.html"), .embedInCode("page.css"), .embedInCode("page.js"),
            ],
            swiftSettings: strict),
        .systemLibrary(name: "CSplice"),
        .systemLibrary(name: "CXattr"),
        .systemLibrary(name: "CMalloc"),
        .systemLibrary(name: "CLinuxFilesystem"),
        .target(
            name: "LinuxFilesystem", dependencies: ["Bytes", "CISAL", "CLinuxFilesystem"],
            swiftSettings: pointers),
        .target(
            name: "LinuxOwner", dependencies: ["Bytes", "LinuxFilesystem", "Tidemark"],
            swiftSettings: pointers),
        .target(
            name: "LinuxIndex",
            dependencies: [
                "Bytes", "LMDB", "LMDBPages", "LinuxFilesystem", "LinuxOwner", "Threads", "Tidemark",
            ],
            swiftSettings: pointers),
        .target(
            name: "HostFiles", dependencies: ["Bytes", "CMalloc", "CXattr"], swiftSettings: pointers),
        .executableTarget(
            name: "TidemarkCommand",
            dependencies: [
                "Bytes", "Control", "Dashboard", "HostFiles", "LMDB", "LMDBPages",
                "LinuxFilesystem", "LinuxIndex", "LinuxOwner", "Meters", "Reports", "RunService",
                "Scenarios", "Scrub", "Threads", "Tidemark", "Volume", "VolumeFormat",
                "VolumeIndexes", "VolumeMount", "VolumeService", "VolumeVerify",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        // What all tests use, and nothing else does.
        .target(
            name: "TestSupport", dependencies: ["Threads"], path: "Tests/TestSupport",
            swiftSettings: strict),
        .testTarget(name: "BytesTests", dependencies: ["Bytes"], swiftSettings: strict),
        .testTarget(
            name: "LMDBTests", dependencies: ["LMDB", "Bytes", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "LMDBPagesTests", dependencies: ["LMDBPages", "LMDB", "Bytes"],
            swiftSettings: strict),
        .testTarget(
            name: "TidemarkTests",
            dependencies: [
                "Tidemark", "Driver", "Entries", "Feed", "Catalogue", "Bytes", "LMDB", "Shadow",
                "SideFile", "TestSupport", "Threads",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "LinuxFilesystemTests",
            dependencies: [
                "Bytes", "CLinuxFilesystem", "CXattr", "LinuxFilesystem", "LinuxOwner",
                "TestSupport", "Tidemark",
            ],
            exclude: ["Fixtures"], swiftSettings: strict),
        .testTarget(
            name: "LinuxIndexTests",
            dependencies: [
                "Bytes", "LMDB", "LinuxFilesystem", "LinuxIndex", "LinuxOwner", "TestSupport",
                "Tidemark",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "MetersTests", dependencies: ["Meters", "Threads"], swiftSettings: strict),
        .testTarget(
            name: "DashboardTests", dependencies: ["Dashboard", "Threads"], swiftSettings: strict),
        .testTarget(name: "ReportsTests", dependencies: ["Reports"], swiftSettings: strict),
        .testTarget(
            name: "RunServiceTests",
            dependencies: [
                "Bytes", "Catalogue", "Control", "Meters", "Reports", "RunService", "TestSupport",
                "Threads", "Tidemark", "Volume", "VolumeFormat", "VolumeService",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ControlTests", dependencies: ["Bytes", "Control", "TestSupport", "Threads"],
            swiftSettings: strict),
        .testTarget(
            name: "VolumeTests",
            dependencies: [
                "Volume", "VolumeFormat", "VolumeIndexes", "VolumeVerify", "Tidemark", "Bytes",
                "Inspection", "LMDB", "TestSupport", "Threads",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ScrubTests",
            dependencies: [
                "Bytes", "LMDB", "RunService", "Scrub", "TestSupport", "Threads", "Tidemark",
                "Volume", "VolumeFormat", "VolumeService", "VolumeVerify",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "CampaignTests",
            dependencies: [
                "Bytes", "LMDB", "LMDBPages", "LinuxIndex", "RunService", "Scrub", "Shadow",
                "SideFile", "TestSupport", "Threads", "TidemarkCommand", "Tidemark", "Volume",
                "VolumeFormat", "VolumeService", "VolumeVerify",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "VolumeMountTests",
            dependencies: ["VolumeMount", "Bytes", "Meters", "TestSupport", "Threads"],
            swiftSettings: strict),
        // As somebody outside the package would see it.
        .testTarget(
            name: "AdoptingTests",
            dependencies: ["Bytes", "Catalogue", "Inspection", "Scenarios", "Tidemark"],
            packageAccess: false, swiftSettings: strict),
        .testTarget(
            name: "ScenariosTests",
            dependencies: [
                "Scenarios", "Tidemark", "Bytes", "LMDB", "TestSupport", "Threads", "Volume",
                "VolumeVerify",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "TidemarkCommand", "HostFiles", "Bytes", "LMDB", "Meters", "Reports",
                "RunService", "TestSupport", "Threads", "Tidemark", "VolumeFormat",
            ],
            swiftSettings: strict),
    ]
)
