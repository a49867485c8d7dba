// Lists of bad sectors, in the formats in which programs have printed them.

import Testing

@testable import LinuxIndex

@Suite struct BadSectorTests {
    private func sectors(
        _ format: BadSectorFormat, _ text: String, unit: UInt64? = nil
    ) throws -> [BadSector] {
        var list = BadSectorList(format, unit: unit)
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            try list.take(line)
        }
        try list.finish()
        return list.sectors.sorted()
    }

    private func line(_ format: BadSectorFormat, _ text: String) -> Int? {
        do {
            _ = try sectors(format, text)
            return nil
        } catch let error as BadSectorError {
            return error.line ?? 0
        } catch {
            return -1
        }
    }

    @Test func `badblocks counts in its own blocks`() throws {
        #expect(try sectors(.badblocks, "7\n9\n") == [14, 15, 18, 19].map { BadSector($0) })
        #expect(
            try sectors(.badblocks, "2\n", unit: 4096) == (16..<24).map { BadSector($0) })
        #expect(try sectors(.badblocks, "  5  \r", unit: 512) == [BadSector(5)])
        #expect(try sectors(.badblocks, "") == [])
    }

    @Test(arguments: [
        "7\nseven\n", "7\n-8\n", "7\n0x8\n", "7\n8 9\n", "7\n8.5\n", "7\n99999999999999999999999\n",
        "7\n18446744073709551615\n", "7\nChecking blocks 0 to 1023\n",
    ])
    func `what is no line of badblocks is refused with its number`(text: String) {
        #expect(line(.badblocks, text) == 2)
    }

    static let selfTests = """
        smartctl 7.3 2022-02-28 r5338 [x86_64-linux-6.1.0-18-amd64] (local build)
        Copyright (C) 2002-22, Bruce Allen, Christian Franke, www.smartmontools.org

        === START OF READ SMART DATA SECTION ===
        SMART Self-test log structure revision number 1
        Num  Test_Description    Status                  Remaining  LifeTime(hours)  \
        LBA_of_first_error
        # 1  Extended offline    Completed: read failure       90%     18801         104284160
        # 2  Short offline       Completed without error       00%     18700         -
        #10  Extended offline    Completed: read failure       10%     17211         2930275055
        """

    @Test func `a self-test log gives the first error of each test that failed`() throws {
        #expect(
            try sectors(.smartctl, Self.selfTests)
                == [BadSector(104_284_160), BadSector(2_930_275_055)])
    }

    @Test func `an error log gives each LBA`() throws {
        let text = """
            SMART Error Log Version: 1
            ATA Error Count: 25 (device log contains only the most recent five errors)

            Error 25 occurred at disk power-on lifetime: 18798 hours (783 days + 6 hours)
              When the command that caused the error occurred, the device was active or idle.

              After command completion occurred, registers were:
              ER ST SC SN CL CH DH
              -- -- -- -- -- -- --
              40 51 08 00 40 37 e6  Error: UNC 8 sectors at LBA = 0x06374000 = 104284160

              Commands leading to the command that caused the error were:
              CR FR SC SN CL CH DH DC   Powered_Up_Time  Command/Feature_Name
              -- -- -- -- -- -- -- --  ----------------  --------------------
              c8 00 08 00 40 37 e6 08      08:54:35.771  READ DMA
            """
        #expect(try sectors(.smartctl, text) == [BadSector(104_284_160)])
    }

    @Test func `a self-test log of a SCSI disk has its LBA before the sense`() throws {
        let text = """
            SMART Self-test log
            Num  Test              Status                 segment  LifeTime  LBA_first_err [SK \
            ASC ASQ]
                 Description                              number   (hours)
            # 1  Background long   Failed in segment -->       -   23410        0x1f3c0a8 [0x3 \
            0x11 0x0]
            # 2  Background short  Completed                   -   23387                 - [-   - \
               -]
            """
        #expect(try sectors(.smartctl, text) == [BadSector(0x1f3_c0a8)])
    }

    @Test func `what is no log of smartctl is refused`() {
        #expect(line(.smartctl, "7\n8\n") == 0)
        #expect(line(.smartctl, "# 1  Extended offline  Completed: read failure  90%  soon") == 1)
        #expect(line(.smartctl, "#") == 1)
        #expect(line(.smartctl, "40 51 08  Error: UNC at LBA = 0x06374000 = 104284161") == 1)
    }

    @Test func `the kernel's log names devices, and what is said in other units is passed over`()
        throws
    {
        let text = """
            [51887.853786] sd 8:0:0:0: [sdi] Unhandled sense code
            [51887.853836] end_request: critical medium error, dev sdi, sector 14381056
            [51887.853849] Buffer I/O error on device sdi, logical block 1797632
            blk_update_request: I/O error, dev sdb, sector 1953120 op 0x0:(READ) flags 0x0 \
            phys_seg 1 prio class 0
            Buffer I/O error on dev sdb1, logical block 244139, async page read
            Nov 29 08:00:01 host kernel: I/O error, dev nvme0n1, sector 88 op 0x0:(READ) flags \
            0x80700 phys_seg 1 prio class 2
            XFS (sdb1): metadata I/O error in "xfs_imap_to_bp+0x5b/0xa0" at daddr 0x1dcd80 len 32 \
            error 5
            sd 0:0:1:0: [sdb] tag#12 CDB: Read(10) 28 00 00 1d cf a0 00 00 08 00
            """
        #expect(
            try sectors(.kernel, text) == [
                BadSector(device: "nvme0n1", 88), BadSector(device: "sdb", 1_953_120),
                BadSector(device: "sdi", 14_381_056),
            ])
        #expect(try sectors(.kernel, "all is well\n") == [])
        #expect(line(.kernel, "I/O error, dev sda, sector many op 0x0:(READ)") == 1)
    }

    @Test func `a list beyond all bounds is refused`() {
        var list = BadSectorList(.badblocks, unit: 1 << 30)
        #expect(throws: BadSectorError.self) { try list.take("1") }
    }
}
