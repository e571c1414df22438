//! Tiles of AMX: eight registers of 16 rows of up to 64 bytes, that is of up to 16 pairs of bf16 or of 16 sums.
//!
//! The configuration says how many pairs a row of the left side has, so a step may have any even number of numbers up to 32: the numbers after
//! them are neither read nor multiplied.
//!
//! The operations of the two kernels (32 rows and 16 rows, each by 32 columns) are written once, as data. `hardware!` makes one block of
//! assembly of them, because the content of a tile register is lost outside of such a block, and `emulated!` makes calls of [`Registers`]. So
//! machines without the unit test which registers are multiplied, and where each is loaded and stored.

use super::{COLUMNS, Depth, Tile, flush, halves};

/// Passes the kernel of 32 rows to the macro `$write`: names for the first rows of its left tiles; the registers of its sums, each with its
/// place (the first or second 16 rows of sums, and the distance in bytes from their first value); and the operations of each step.
macro_rules! two_by_two {
    ($write:ident, $tile:expr) => {
        $write! { $tile;
            rows (first 0) (second 16);
            sums (0 0 0) (1 0 64) (2 1 0) (3 1 64);
            step (left 4 first) (right 6 0) (right 7 64) (left 5 second) (multiply 0 4 6) (multiply 1 4 7) (multiply 2 5 6) (multiply 3 5 7)
        }
    };
}

/// Passes the kernel of 16 rows to the macro `$write`, as [`two_by_two`] does.
macro_rules! one_by_two {
    ($write:ident, $tile:expr) => {
        $write! { $tile;
            rows (first 0);
            sums (0 0 0) (1 0 64);
            step (left 4 first) (right 6 0) (right 7 64) (multiply 0 4 6) (multiply 1 4 7)
        }
    };
}

/// Bytes of a row of sums, and of the slots of one pair in a panel.
const ROW: usize = COLUMNS * size_of::<f32>();

/// The instructions of one operation. `{at}` is where the step begins, in numbers from the first of a row, and `{row}` is the distance of
/// rows in bytes. In a tile instruction, the index register holds the distance of the tile's rows; it is not added to the address of the
/// first row.
#[cfg(target_arch = "x86_64")]
macro_rules! instruction {
    (left $to:literal $first:ident) => {
        concat!("lea {from}, [{", stringify!($first), "} + 2 * {at}]\n tileloadd tmm", $to, ", [{from} + {row} * 1]")
    };
    (right $to:literal $offset:literal) => {
        concat!("tileloadd tmm", $to, ", [{right} + {line} * 1 + ", $offset, "]")
    };
    (multiply $sum:literal $left:literal $right:literal) => {
        concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right)
    };
}

/// Instructions without effect, which follow each operation of a step. If another program uses the second hardware thread of the core, tile
/// instructions that follow one another without a gap take 1.6 times as long (measured on Emerald Rapids, in each order that was tried);
/// otherwise, the gaps cost nothing.
#[cfg(target_arch = "x86_64")]
macro_rules! gap {
    () => {
        ".rept 8\n nop\n .endr"
    };
}

/// The register that holds the address of the first or second 16 rows of sums.
#[cfg(target_arch = "x86_64")]
macro_rules! place {
    (0) => {
        "at"
    };
    (1) => {
        "from"
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! hardware {
    ($tile:expr; rows $(($first:ident $number:literal))*; sums $(($sum:literal $place:tt $offset:literal))*; step $(($($operation:tt)*))*) => {
        std::arch::asm!(
            "test {adds}, {adds}",
            "jz 3f",
            "mov {at}, {sums}",
            "mov {from}, {lower}",
            $(concat!("tileloadd tmm", $sum, ", [{", place!($place), "} + {sums_row} * 1 + ", $offset, "]"), gap!(),)*
            "jmp 2f",
            "3:",
            $(concat!("tilezero tmm", $sum),)*
            "2:",
            "mov {at}, qword ptr [{steps}]",
            $(instruction!($($operation)*), gap!(),)*
            "add {steps}, 8",
            "add {right}, {right_step}",
            "dec {count}",
            "jnz 2b",
            "mov {at}, {sums}",
            "mov {from}, {lower}",
            $(concat!("tilestored [{", place!($place), "} + {sums_row} * 1 + ", $offset, "], tmm", $sum),)*
            $($first = in(reg) $tile.left.wrapping_add($number * $tile.left_row),)*
            row = in(reg) $tile.left_row * 2,
            steps = inout(reg) $tile.steps.as_ptr() => _,
            count = inout(reg) $tile.steps.len() => _,
            right = inout(reg) $tile.right.as_ptr() => _,
            right_step = in(reg) $tile.depth.pairs() * ROW,
            line = in(reg) ROW,
            adds = in(reg) usize::from($tile.adds),
            sums = in(reg) $tile.sums,
            lower = in(reg) $tile.sums.wrapping_add(16 * $tile.sums_row),
            sums_row = in(reg) $tile.sums_row * size_of::<f32>(),
            at = out(reg) _,
            from = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

macro_rules! emulated {
    ($tile:expr; rows $(($first:ident $number:literal))*; sums $(($sum:literal $place:tt $offset:literal))*; step $(($($operation:tt)*))*) => {{
        let mut unit = Registers { registers: [[[0; 16]; 16]; 8], pairs: $tile.depth.pairs() };
        $(let $first = $tile.left.wrapping_add($number * $tile.left_row).cast::<u8>();)*
        let sums = [$tile.sums, $tile.sums.wrapping_add(16 * $tile.sums_row)].map(|sums| sums.cast::<u8>());
        let row = $tile.sums_row * size_of::<f32>();
        if $tile.adds {
            $(unit.load($sum, sums[$place].wrapping_add($offset), row);)*
        }
        for (step, at) in $tile.steps.iter().enumerate() {
            let right = $tile.right.as_ptr().wrapping_add(step * unit.pairs * COLUMNS).cast::<u8>();
            $(operation!(unit, $tile, right, *at; $($operation)*);)*
        }
        $(unit.store(sums[$place].wrapping_add($offset), row, $sum);)*
    }};
}

/// The emulation of one operation.
macro_rules! operation {
    ($unit:ident, $tile:expr, $right:ident, $at:expr; left $to:literal $first:ident) => {
        $unit.load_left($to, $first.wrapping_add(2 * $at), $tile.left_row * 2)
    };
    ($unit:ident, $tile:expr, $right:ident, $at:expr; right $to:literal $offset:literal) => {
        $unit.load_right($to, $right.wrapping_add($offset), ROW)
    };
    ($unit:ident, $tile:expr, $right:ident, $at:expr; multiply $sum:literal $left:literal $other:literal) => {
        $unit.multiply($sum, $left, $other)
    };
}

/// Tile registers in plain Rust, configured as [`configure`] does it: for shorter steps, the registers of the left side have shorter rows, and
/// those of the right side have fewer rows. They hold pairs of bf16, or the bits of sums.
struct Registers {
    registers: [[[u32; 16]; 16]; 8],
    /// Pairs in a row of the left side, and rows of the right side.
    pairs: usize,
}

impl Registers {
    /// `TILELOADD` for sums: loads 16 rows that are `row` bytes apart.
    ///
    /// # Safety
    /// 64 bytes lie at the address of each row.
    unsafe fn load(&mut self, to: usize, from: *const u8, row: usize) {
        for (at, line) in self.registers[to].iter_mut().enumerate() {
            // SAFETY: 64 bytes lie at the address of the row.
            *line = unsafe { from.wrapping_add(at * row).cast::<[u32; 16]>().read_unaligned() };
        }
    }

    /// `TILELOADD` for the left side, whose rows have as many pairs as are configured.
    ///
    /// # Safety
    /// The pairs lie at the address of each row.
    unsafe fn load_left(&mut self, to: usize, from: *const u8, row: usize) {
        for (at, line) in self.registers[to].iter_mut().enumerate() {
            for (pair, to) in line.iter_mut().enumerate().take(self.pairs) {
                // SAFETY: the pairs lie at the address of the row.
                *to = unsafe { from.wrapping_add(at * row).cast::<u32>().add(pair).read_unaligned() };
            }
        }
    }

    /// `TILELOADD` for the right side, which has one row for each pair.
    ///
    /// # Safety
    /// 64 bytes lie at the address of each row.
    unsafe fn load_right(&mut self, to: usize, from: *const u8, row: usize) {
        for (at, line) in self.registers[to].iter_mut().enumerate().take(self.pairs) {
            // SAFETY: 64 bytes lie at the address of the row.
            *line = unsafe { from.wrapping_add(at * row).cast::<[u32; 16]>().read_unaligned() };
        }
    }

    /// `TILESTORED`: stores 16 rows that are `row` bytes apart.
    ///
    /// # Safety
    /// There is room for 64 bytes at the address of each row.
    unsafe fn store(&self, to: *mut u8, row: usize, from: usize) {
        for (at, line) in self.registers[from].iter().enumerate() {
            // SAFETY: there is room for 64 bytes at the address of the row.
            unsafe { to.wrapping_add(at * row).cast::<[u32; 16]>().write_unaligned(*line) };
        }
    }

    /// `TDPBF16PS`: the products of even numbers and those of odd numbers are added up apart, each from zero on; then both sums are added, and
    /// the old sum last.
    fn multiply(&mut self, sum: usize, left: usize, right: usize) {
        let (left, right) = (self.registers[left], self.registers[right]);
        for (sums, left) in self.registers[sum].iter_mut().zip(left) {
            for (column, sum) in sums.iter_mut().enumerate() {
                let mut chains = [0.0_f32; 2];
                for (pair, slots) in left.into_iter().zip(&right).take(self.pairs) {
                    let (x, w) = (halves(pair), halves(slots[column]));
                    // A product of two numbers of bf16 is exact in `f32`, so this rounds once.
                    (0..2).for_each(|half| chains[half] = flush(chains[half] + x[half] * w[half]));
                }
                let both = flush(chains[0] + chains[1]);
                *sum = flush(f32::from_bits(*sum) + both).to_bits();
            }
        }
    }
}

/// The kernel in plain Rust.
///
/// # Safety
/// The tile's addresses are valid, as its fields say.
pub(super) unsafe fn multiply_emulated(tile: &Tile<'_>) {
    // SAFETY: the tile's rows are whole, and the panel has its steps; the sums have room for all rows, up to a multiple of 16.
    unsafe {
        match tile.rows {
            17.. => two_by_two!(emulated, tile),
            _ => one_by_two!(emulated, tile),
        }
    }
}

/// The kernel in AMX's instructions.
///
/// # Safety
/// The unit is there and has been configured in this thread; the tile's addresses are valid, as its fields say.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn multiply_amx(tile: &Tile<'_>) {
    if tile.steps.is_empty() {
        // SAFETY: the tile's addresses are valid.
        return unsafe { multiply_emulated(tile) };
    }
    // SAFETY: the unit is configured for steps of this depth; the tile's rows are whole, and the panel has its steps, of which there is at least
    // one; the sums have room for all rows, up to a multiple of 16.
    unsafe {
        match tile.rows {
            17.. => two_by_two!(hardware, tile),
            _ => one_by_two!(hardware, tile),
        }
    }
}

/// The configuration of the registers: palette 1, then for each of the eight registers the bytes of a row, and the number of rows.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configures the registers of this thread: 0 to 3 have 16 rows of 16 sums; 4 and 5 have 16 rows of a step's numbers; 6 and 7 have a row of 16
/// pairs for each two numbers of a step.
///
/// # Safety
/// The unit is there.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn configure(depth: Depth) {
    let (bytes, pairs) = (4 * depth.pairs() as u16, depth.pairs() as u8);
    let configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes: [64, 64, 64, 64, bytes, bytes, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, pairs, pairs, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // SAFETY: the unit is there, and 64 bytes of a configuration that it accepts lie at the address: steps have a pair at least, and 16 at most.
    unsafe {
        std::arch::asm!("ldtilecfg [{at}]", at = in(reg) &raw const configuration,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, readonly));
    }
}

/// Releases the registers of this thread, so that the system need not save their content any more.
///
/// # Safety
/// The unit is there.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn release() {
    // SAFETY: the unit is there.
    unsafe {
        std::arch::asm!("tilerelease",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, nomem));
    }
}

/// Never called, because no machine of this target has the unit.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn configure(_: Depth) {}

/// Never called, because no machine of this target has the unit.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn release() {}

/// Whether processor and system let this process use the unit. The first call asks the system for permission, which holds for all threads.
pub(super) fn are_allowed() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
    {
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *ALLOWED.get_or_init(|| has_unit() && ask_system())
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", not(miri))))]
    false
}

/// Whether the processor has tiles and multiplies bf16 in them, and the system saves them for each thread.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn has_unit() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    #[target_feature(enable = "xsave")]
    unsafe fn kept() -> u64 {
        // SAFETY: this function has the instruction, and register 0 always exists.
        unsafe { _xgetbv(0) }
    }
    /// Bits 22 (`AMX-BF16`) and 24 (`AMX-TILE`) of `EDX`.
    const UNIT: u32 = 1 << 22 | 1 << 24;
    /// The bits of `XCR0` for the configuration and the content of the tiles.
    const KEPT: u64 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & UNIT != UNIT || !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: the processor has the instruction, and the system has switched it on: `is_x86_feature_detected` looks at both.
    let kept = unsafe { kept() };
    kept & KEPT == KEPT
}

/// Asks the system (Linux 5.16 or later) for permission to use tiles, which the process keeps.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
fn ask_system() -> bool {
    /// The number of `arch_prctl`, its argument `ARCH_REQ_XCOMP_PERM`, and the number of the state component that is the content of tiles.
    const CALL: [u64; 3] = [158, 0x1023, 18];
    let answer: i64;
    // SAFETY: the call takes two numbers and accesses no memory; a system call changes `rax`, `rcx` and `r11`, which are declared.
    unsafe {
        std::arch::asm!("syscall", inout("rax") CALL[0] as i64 => answer, in("rdi") CALL[1], in("rsi") CALL[2],
            out("rcx") _, out("r11") _, options(nostack));
    }
    answer == 0
}
