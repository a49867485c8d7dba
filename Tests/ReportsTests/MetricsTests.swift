import Testing

@testable import Reports

@Suite struct MetricsTests {
    @Test func `a family is its help, its type and its samples, with labels escaped`() {
        var family = MetricFamily("a_seconds", .gauge, "In\ntwo lines.")
        family.add(1.5, [("path", "a\"b\\c\nd"), ("run", "7")])
        family.add(3)
        #expect(
            prometheusText([family]) == """
                # HELP a_seconds In two lines.
                # TYPE a_seconds gauge
                a_seconds{path="a\\"b\\\\c\\nd",run="7"} 1.5
                a_seconds 3

                """)
    }

    @Test func `a family without samples is left out`() {
        #expect(prometheusText([MetricFamily("a_total", .counter, "None.")]) == "")
    }

    @Test func `histograms end with all, and summaries have quantiles`() {
        var histogram = MetricFamily("h_seconds", .histogram, "H.")
        histogram.add(histogram: [(0.001, 2), (1, 3)], count: 4, sum: 9.25, [("op", "read")])
        var summary = MetricFamily("s_seconds", .summary, "S.")
        summary.add(quantiles: [(0.5, 0.25)], count: 2, sum: .infinity)
        #expect(
            prometheusText([histogram, summary]) == """
                # HELP h_seconds H.
                # TYPE h_seconds histogram
                h_seconds_bucket{op="read",le="0.001"} 2
                h_seconds_bucket{op="read",le="1"} 3
                h_seconds_bucket{op="read",le="+Inf"} 4
                h_seconds_sum{op="read"} 9.25
                h_seconds_count{op="read"} 4
                # HELP s_seconds S.
                # TYPE s_seconds summary
                s_seconds{quantile="0.5"} 0.25
                s_seconds_sum +Inf
                s_seconds_count 2

                """)
    }
}
