import Testing

@testable import Scenarios

@Suite struct ScenarioValueTests {
    @Test func `bounds contain their ends`() {
        #expect(Bounds(1, 2).contains(1) && Bounds(1, 2).contains(2) && !Bounds(1, 2).contains(3))
    }
}
