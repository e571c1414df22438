//! Writes `docs/benchmarks.md`, which has one section per piece of work.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::contest::{Contender, WORK, Work, cores, median};
use crate::workspace::root;

/// Share of the machine that other programs took. From this share on, the figures are marked as unreliable.
const BUSY: f64 = 0.05;

/// The text before all sections.
const HEAD: &str = "\
# Benchmarks

Injerto and other frameworks did the same work on the same photos, in turns. Each section says when, where and by which command it was
measured.

*injerto* starts without kept features; *injerto, again* runs the same command a second time. The scripts of the other frameworks are
`benches/peers/*.py`: *plain* is written as a beginner would write it; *tuned* uses channels-last, two workers and no gradients in the
frozen part; *cached* computes features once; *compile* uses `torch.compile`. All compute in fp32, except those whose names end in *bf16*.
Seconds are those of the whole process, including its start. Peak memory is that of the largest single process. *Load of others* is the
share of all cores that other programs took meanwhile (median). Keras's weights are random, and so are PyTorch's without `--weights`; this
does not change the amount of work. No download is measured.

![The three pieces of work with the largest lead over the fastest other framework](pictures/benchmarks.svg)
";

/// The page `old` with a new section for `work`; sections of other work stay, and so do those that were written by hand, which come last.
pub(crate) fn with_section(old: &str, work: &Work, all: &[Contender], arguments: &[String]) -> String {
    let mut page = HEAD.to_owned();
    for Work { name, title, .. } in WORK {
        let heading = format!("\n## {title}\n\n");
        if name == work.name {
            let _ = write!(page, "{heading}{}\n\n{}", note(arguments), table(all, work.rates));
        } else if let Some((_, rest)) = old.split_once(&heading) {
            let own = rest.split("\n## ").next().unwrap_or_default();
            let _ = writeln!(page, "{heading}{}", own.trim_end());
        }
    }
    let is_of_work = |title: &str| WORK.iter().any(|work| work.title == title);
    for section in old.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        if !is_of_work(title) {
            let _ = writeln!(page, "\n## {}", section.trim_end());
        }
    }
    page
}

/// A table. The first contender is ours, and the ratios compare the others with it.
fn table(all: &[Contender], rates: bool) -> String {
    let unit = if rates { "images/s" } else { "seconds" };
    let mut page = format!(
        "| | runs | {unit} (median) | spread | peak memory | load of others | speed of *injerto* relative to it | processor has |\n"
    );
    page += "|---|---|---|---|---|---|---|---|\n";
    let has = instructions(&cpuinfo());
    let ours = all.first().and_then(|first| median(&first.values));
    for one in all {
        let name = if one.version.is_empty() { one.name.clone() } else { format!("{} ({})", one.name, one.version) };
        let Some(value) = median(&one.values) else {
            let why = one.failed.as_deref().unwrap_or("no run").replace('|', "/");
            let _ = writeln!(page, "| {name} | 0 | not run: {why} | | | | | {has} |");
            continue;
        };
        let least = one.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = one.values.iter().copied().fold(0.0, f64::max);
        // In the forward passes, the memory of the peers includes the export of the network, so comparing it would not be fair.
        let peak = one.peak_kib.filter(|_| !rates).map_or_else(|| "–".to_owned(), |kib| format!("{} MiB", kib / 1024));
        let load = median(&one.others).map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let ratio =
            ours.map_or_else(String::new, |ours| format!("{:.2}×", if rates { ours / value } else { value / ours }));
        let runs = one.values.len();
        let _ = writeln!(
            page,
            "| {name} | {runs} | {value:.1} | {least:.1}–{most:.1} | {peak} | {load} | {ratio} | {has} |"
        );
    }
    if all.iter().filter_map(|one| median(&one.others)).any(|share| share > BUSY) {
        page += "\n**The machine was not idle: these figures show that the work runs, but not how fast it is.**\n";
    }
    page
}

/// Date, machine and command.
fn note(arguments: &[String]) -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    let (year, month, day) = date(days);
    let cpuinfo = cpuinfo();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, cpu)| cpu);
    let git = Command::new("git").arg("-C").arg(root()).args(["rev-parse", "--short", "HEAD"]).output();
    let commit = git.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{year}-{month:02}-{day:02}, commit {commit}, {cpu}, {} cores, {} {}: `{}`",
        cores(),
        std::env::consts::OS,
        std::env::consts::ARCH,
        as_shown(arguments),
    )
}

/// What Linux says of the processors; nothing elsewhere.
fn cpuinfo() -> String {
    std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
}

/// The instruction sets that decide how fast matrices are multiplied: the widest vectors, and what computes in bf16.
fn instructions(cpuinfo: &str) -> String {
    let flags: Vec<&str> = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags")?.split_once(": "))
        .map_or_else(Vec::new, |(_, flags)| flags.split_whitespace().collect());
    let has = |flag: &&(&str, &str)| flags.contains(&flag.0);
    let widest = [("avx512f", "AVX-512"), ("avx2", "AVX2")].iter().find(has).map(|(_, name)| *name);
    let more = [("avx512_bf16", "AVX-512 BF16"), ("amx_bf16", "AMX")];
    let all: Vec<&str> = widest.into_iter().chain(more.iter().filter(has).map(|(_, name)| *name)).collect();
    if all.is_empty() { std::env::consts::ARCH.to_owned() } else { all.join(", ") }
}

/// The command without paths of this machine, as others would write it.
fn as_shown(arguments: &[String]) -> String {
    let mut shown = "cargo xtask bench peers".to_owned();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--python" => drop(rest.next()),
            "--weights" => {
                rest.next();
                shown += " --weights FILE.pt";
            }
            option if option.starts_with("--") => {
                let _ = write!(shown, " {option} {}", rest.next().map_or("", String::as_str));
            }
            _ => shown += " DATA",
        }
    }
    shown
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine_are_not_shown() {
        let arguments = ["/home/me/photos", "--python", "/opt/python", "--runs", "3"].map(str::to_owned);
        assert_eq!(as_shown(&arguments), "cargo xtask bench peers DATA --runs 3");
    }

    #[test]
    fn every_row_says_what_the_processor_has() {
        let check = |flags: &str, expected: &str| {
            assert_eq!(instructions(&format!("processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t\t:\n")), expected);
        };
        check("sse4_2 avx2", "AVX2");
        check("avx2 avx512f avx512_bf16", "AVX-512, AVX-512 BF16");
        check("avx2 avx512f avx512_bf16 amx_bf16 amx_tile", "AVX-512, AVX-512 BF16, AMX");
        check("fpu", std::env::consts::ARCH);
        let mut one = [Contender::new("injerto", || Err(String::new()))];
        one[0].failed = Some("no module".to_owned());
        let has = instructions(&cpuinfo());
        assert!(table(&one, true).contains(&format!("| injerto | 0 | not run: no module | | | | | {has} |")));
    }

    #[test]
    fn days_since_1970() {
        assert_eq!((date(0), date(11_016), date(20_454)), ((1970, 1, 1), (2000, 2, 29), (2026, 1, 1)));
    }

    #[test]
    fn ratios_compare_with_ours() {
        let mut all =
            [Contender::new("injerto", || Err(String::new())), Contender::new("keras", || Err(String::new()))];
        all[0].values = vec![2.0];
        all[1].values = vec![30.0, 10.0, 20.0];
        assert!(table(&all, false).contains("| keras | 3 | 20.0 | 10.0–30.0 | – | – | 10.00× | "));
        assert!(table(&all, true).contains("| 0.10× | "));
        all[1].values.clear();
        all[1].failed = Some("no module".to_owned());
        assert!(table(&all, false).contains("| keras | 0 | not run: no module |"));
    }

    #[test]
    fn sections_of_other_work_stay() {
        let of = |seconds: f64| {
            let mut one = Contender::new("injerto", || Err(String::new()));
            one.values = vec![seconds];
            [one]
        };
        let section = |old: &str, name: &str, seconds: f64| {
            let work = WORK.iter().find(|work| work.name == name).expect("it is there");
            with_section(old, work, &of(seconds), &[])
        };
        let both = section(&section("", "fine_tuning", 7.0), "small_cnn", 3.0);
        let changed = section(&both, "fine_tuning", 8.0);
        assert_eq!(changed, both.replace("7.0", "8.0"));
        assert!(
            changed.find("## Training step") < changed.find("## Fine-tuning") && changed.contains("| 3.0 |"),
            "{changed}"
        );
    }

    #[test]
    fn a_section_that_was_written_by_hand_stays_last() {
        let work = &WORK[0];
        let mut one = [Contender::new("injerto", || Err(String::new()))];
        one[0].values = vec![1.0];
        let own = "\n## On a card\n\nA table.\n";
        let page = with_section(&(HEAD.to_owned() + own), work, &one, &[]);
        assert!(page.ends_with(own) && page.contains(work.title), "{page}");
        assert_eq!(with_section(&page, work, &one, &[]), page);
    }
}
