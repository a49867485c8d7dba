import Testing

@testable import Dashboard

@Suite struct PageFileTests {
    @Test func `nothing of the page is loaded from elsewhere`() {
        for bytes in [
            PackageResources.page_html, PackageResources.page_css, PackageResources.page_js,
        ] {
            let text = String(decoding: bytes, as: UTF8.self)
                .replacing("http://www.w3.org/2000/svg", with: "")
            #expect(!text.contains("http:") && !text.contains("https:") && !text.contains("url("))
            #expect(!text.contains("innerHTML"))
        }
    }
}
