import Testing

@testable import Dashboard

@Suite struct AddressTests {
    @Test(arguments: [
        ("8080", "127.0.0.1:8080"), ("127.0.0.1:8080", "127.0.0.1:8080"), ("0", "127.0.0.1:0"),
        ("localhost:9", "127.0.0.1:9"), ("[::1]:80", "[::1]:80"), ("0.0.0.0:80", "0.0.0.0:80"),
    ])
    func `an address is a port, or a host in numbers and a port`(text: String, read: String) {
        #expect(DashboardAddress(text)?.description == read)
    }

    @Test(arguments: [
        "", ":", "x", "70000", "-1", "1.2.3.4", "1.2.3:80", "name:80", "::1:80", "[::1]", "[::1",
        "[::1]80", "127.0.0.1:", "127.0.0.1:80:90", "[name]:80",
    ])
    func `what is no address is refused`(text: String) {
        #expect(DashboardAddress(text) == nil)
    }

    @Test func `loopback answers to its own names only`() throws {
        for text in ["8080", "[::1]:8080", "127.0.0.2:8080"] {
            let address = try #require(DashboardAddress(text))
            #expect(address.isLoopback)
            for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:9", "[::1]:8080"] {
                #expect(address.admits(host: host), "\(host)")
            }
            for host in [
                nil, "", "evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1",
                "localhost:80:80", "127.0.0.1.evil.example", "[::1", "0.0.0.0",
            ] {
                #expect(!address.admits(host: host), "\(host ?? "none")")
            }
        }
    }

    @Test func `an open address answers to numbers, which no other page can have as its name`()
        throws
    {
        let address = try #require(DashboardAddress("0.0.0.0:8080"))
        #expect(!address.isLoopback)
        for host in ["10.0.0.1:8080", "localhost", "[fe80::1]"] {
            #expect(address.admits(host: host), "\(host)")
        }
        for host in ["evil.example", "10.0.0.1.evil.example", ""] {
            #expect(!address.admits(host: host), "\(host)")
        }
    }
}
