//! Pages of rows of every kind, and of rows that nobody should write.

use super::Report;
use super::row::{Row, bytes, count, digits, time};
use serde_json::{Value, json};

fn machine() -> Value {
    json!({"kernel": "6.18", "cpu": "AMD EPYC", "cores": 2, "rustc": "rustc 1.88.0", "commit": "abc1234",
           "date": "2026-11-28T16:00:00Z", "pinned": true})
}

fn latency(system: &str, wait: Option<&str>, size: u64, p50: u64) -> Value {
    // Few enough digits that they come back from text as they were.
    let percentile = |k: u64| (1e8 * (1.0 - 0.5f64.powf(k as f64 / 2.0))).round() / 1e6;
    let steps = (0..30).map(|k| json!([percentile(k), p50 + k * k]));
    let distribution: Vec<Value> = steps.chain([json!([100.0, p50 * 100])]).collect();
    json!({"bench": "latency", "system": system, "mode": wait.map(|_| "spsc"), "wait": wait, "size": size,
           "capacity": null, "producers": null, "consumers": null, "batch": null, "p50": p50, "p90": p50 + 1,
           "p99": p50 * 2, "p999": p50 * 9, "max": p50 * 100, "msgs_per_s": null, "bytes_per_s": null, "runs": 5,
           "samples": 1000, "spread": 0.1, "ratio_limit": 1.2, "ratio_pipe": 0.8, "error": null,
           "distribution": distribution})
}

fn throughput(system: &str, size: u64, rate: f64) -> Value {
    json!({"bench": "throughput", "system": system, "mode": "spsc", "wait": "default", "size": size, "capacity": 1024,
           "producers": 1, "consumers": 1, "batch": 1, "msgs_per_s": rate, "bytes_per_s": rate * size as f64, "runs": 5,
           "spread": 0.05, "ratio_limit": 0.9, "ratio_pipe": 30.0, "error": null})
}

fn load(wait: &str, rate: f64) -> Value {
    json!({"bench": "load", "system": "ringway", "mode": "spsc", "wait": wait, "size": 56, "rate": rate,
           "achieved_per_s": rate, "p50": 200, "p99": 900, "late_p99": 10, "cpu_s_per_million_sender": 1.0,
           "cpu_s_per_million_receiver": 2.0})
}

fn field(system: &str, kind: &str, ratio: Value) -> Value {
    json!({"bench": "field", "kind": kind, "way": "copy", "size": 56, "system": system, "note": "as its README says",
           "per_s": {"median": 1e6, "min": 9e5, "max": 2e6}, "ratio": ratio, "p50": 200, "p99": 900,
           "distribution": null, "skipped": null, "error": null})
}

fn scale(over: &str, system: &str, (producers, consumers): (u64, u64), size: u64, capacity: u64) -> Value {
    let mut row = throughput(system, size, 1e6 * (producers + consumers + size + capacity) as f64);
    row["bench"] = "scale".into();
    row["over"] = over.into();
    (row["producers"], row["consumers"], row["capacity"]) = (producers.into(), consumers.into(), capacity.into());
    row["ratio_base"] = 0.9.into();
    row
}

fn ratio(median: f64) -> Value {
    json!({"median": median, "min": median / 2.0, "max": median * 2.0})
}

fn compare(row: &str, rival: &str, median: f64) -> Value {
    json!({"bench": "compare", "row": row, "system": "ringway", "rival": rival, "target": 1.2, "met": true,
           "all": {"ours_per_s": ratio(2e8), "rival_per_s": ratio(1e8), "ratio": ratio(median), "pairs": 9}})
}

fn every_kind() -> Vec<Value> {
    vec![
        latency("raw", None, 8, 100),
        latency("pipe", None, 8, 9000),
        latency("ringway", Some("spin"), 8, 120),
        latency("ringway", Some("park"), 8, 9500),
        throughput("copy", 8, 1e8),
        throughput("unix", 8, 1e6),
        throughput("ringway", 8, 9e7),
        throughput("ringway", 1024, 1e7),
        load("spin", 1e3),
        load("spin", 1e6),
        load("park", 1e3),
        scale("processes", "ringway", (1, 1), 8, 1024),
        scale("processes", "ringway", (8, 8), 8, 1024),
        scale("processes", "ringway", (1, 8), 8, 1024),
        scale("processes", "ringway", (1, 16), 8, 1024),
        scale("size", "copy", (1, 1), 8, 1024),
        scale("size", "copy", (1, 1), 4_194_304, 1024),
        scale("size", "ringway-bytes", (1, 1), 8, 1024),
        scale("size", "ringway-bytes", (1, 1), 4_194_304, 16),
        scale("capacity", "ringway", (1, 1), 8, 16),
        scale("capacity", "ringway", (1, 1), 8, 1_048_576),
        scale("capacity", "ringway", (2, 2), 8, 16),
        scale("capacity", "ringway", (2, 2), 8, 1_048_576),
        json!({"bench": "idle", "system": "ringway", "wait": "park", "idle_cpu_share": 0.0}),
        json!({"bench": "process", "system": "command", "size": 1_000_000, "p50": 600_000, "p99": 900_000}),
        json!({"bench": "pool", "system": "pool-map", "size": 8, "msgs_per_s": 1e6}),
        field("ringway", "throughput", Value::Null),
        field("slow one", "throughput", ratio(3.0)),
        field("fast one", "round-trip", ratio(0.7)),
        compare("SPSC 8 B", "rtrb", 1.9),
        compare("64 KiB copied", "copy", 0.8),
        compare("unbounded", "ringway", 0.6),
    ]
}

/// The page and its plots, which are whole and need nothing else.
#[track_caller]
fn whole(rows: &[Value]) -> (String, Vec<(String, String)>) {
    let machine = machine();
    let report = Report { machine: &machine, rows, interrupted: false };
    let (page, plots) = (report.html(), report.svgs());
    for (name, svg) in &plots {
        let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{name}: {error}"));
        let root = document.root_element();
        let text = |tag| root.children().find(|child| child.has_tag_name(tag)).and_then(|child| child.text());
        assert!(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")), "{name}");
        assert!(text(("http://www.w3.org/2000/svg", "title")).is_some(), "{name}");
        assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("var(--text)"), "{name}");
        for number in ["NaN", "inf"] {
            assert!(!svg.contains(&format!("\"{number}")), "{name} has {number}");
        }
        no_network(&svg.replacen("xmlns=\"http://www.w3.org/2000/svg\"", "", 1));
    }
    no_network(&page);
    let xml = page.replacen("<!doctype html>", "", 1);
    // Three elements of HTML have no end, and the script is no XML.
    let xml = xml.split("<meta").enumerate().map(|(k, part)| if k == 0 { part.into() } else { closed(part) });
    let xml: String = xml.collect::<Vec<String>>().join("<meta");
    let (before, script) = xml.split_once("<script>").expect("the script");
    let xml = format!("{before}{}", script.split_once("</script>").expect("its end").1);
    assert!(!xml.contains("<script"), "there is one script");
    let document = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}"));
    let names = |tag| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!((names("title") > 0, names("figure") * 2), (true, names("svg")));
    (page, plots)
}

fn closed(meta: &str) -> String {
    meta.replacen('>', "/>", 1)
}

#[track_caller]
fn no_network(text: &str) {
    for reference in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!text.contains(reference), "{reference}");
    }
}

fn headings(page: &str) -> Vec<&str> {
    page.split("<h2 id=\"").skip(1).filter_map(|part| part.split('"').next()).collect()
}

#[test]
fn a_page_has_a_section_for_every_kind_of_row() {
    let (page, plots) = whole(&every_kind());
    let sections =
        ["latency", "throughput", "size", "scale", "load", "idle", "process", "pool", "field", "ratios", "numbers"];
    assert_eq!(headings(&page), sections);
    for text in
        ["AMD EPYC", "abc1234", "6.18", "rustc 1.88.0", "2026-11-28", "prefers-color-scheme", "width=device-width"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains("Slower: ringway to fast one (0.7 ×)"), "what is faster is named");
    let mut names: Vec<&String> = plots.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), plots.len());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))), "{names:?}");
    let svg = &plots.iter().find(|(name, _)| name == "latency-distribution-8.svg").expect("a plot").1;
    for text in ["ringway spin", "ringway park", "99.9", "max"] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(page.contains("<polyline"), "curves");
}

#[test]
fn a_ratio_of_the_field_names_what_it_is_taken_of() {
    let mut rival = field("rival", "throughput", ratio(3.0));
    rival["beside"] = json!({"system": "ringway-slices", "mode": "spsc", "wait": "spin"});
    rival["ratio_safe"] = ratio(0.5);
    rival["beside_safe"] = json!({"system": "ringway-in-place", "mode": "spsc", "wait": "default"});
    let (page, _) = whole(&[rival]);
    let (_, table) = page.split_once("All ratios").expect("the table");
    for ours in ["ringway-slices spsc spin</td>", "ringway-in-place spsc default</td>"] {
        assert!(table.contains(ours), "{ours}");
    }
    assert!(page.contains("Slower: ringway-in-place spsc default to rival (0.5 ×)"));
}

#[test]
fn limits_and_modes_of_its_own_are_no_rivals() {
    let (_, plots) = whole(&every_kind());
    let plot = |name: &str| &plots.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}")).1;
    let has = |name: &str, row: &str| plot(name).contains(row);
    assert!(plot("ratio-rivals-rivals.svg").contains("rtrb"));
    for (name, row) in [
        ("ratio-limit-bytes-copied-in-and-out.svg", "64 KiB copied"),
        ("ratio-modes-ringway-s-own-modes.svg", "unbounded"),
    ] {
        assert!(has(name, row) && !has("ratio-rivals-rivals.svg", row), "{name}");
    }
    assert!(!plot("ratio-modes-ringway-s-own-modes.svg").contains("Slower: "), "nobody is said to be ahead");
}

#[test]
fn scaling_has_a_curve_for_what_grows() {
    let (_, plots) = whole(&every_kind());
    let plot = |name: &str| &plots.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}")).1;
    let has = |name: &str, texts: &[&str]| {
        texts
            .iter()
            .for_each(|text| assert!(plot(name).contains(&format!(">\n{text}\n<")), "{text} in {}", plot(name)));
    };
    has("scale-processes-8.svg", &["ringway N×N", "ringway 1×N", "1", "8", "16"]);
    has("scale-size-bytes.svg", &["copy", "ringway-bytes", "8 B", "4 MiB"]);
    has("scale-size-messages.svg", &["copy", "ringway-bytes"]);
    has("scale-capacity.svg", &["ringway 1×1", "ringway 2×2", "16", "1048576"]);
}

#[test]
fn the_json_in_the_page_is_the_report() {
    let rows = every_kind();
    let (page, _) = whole(&rows);
    let json = page.split_once("<pre id=\"json\" tabindex=\"0\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let json = json.expect("there").0.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<");
    let value: Value = serde_json::from_str(&json.replace("&gt;", ">").replace("&amp;", "&")).expect("JSON");
    assert_eq!((&value["schema"], &value["results"]), (&1.into(), &Value::Array(rows)));
    assert_eq!(value["machine"], machine());
}

#[test]
fn sections_without_rows_are_left_out() {
    assert_eq!(headings(&whole(&[]).0), ["numbers"]);
    assert_eq!(headings(&whole(&[load("park", 5.0), load("park", 50.0)]).0), ["load", "numbers"]);
    let one = whole(&[latency("raw", None, 8, 100)]).0;
    assert_eq!(headings(&one), ["latency", "numbers"]);
}

#[test]
fn processes_that_share_processors_are_not_said_to_have_their_own() {
    let page = |ends| whole(&[scale("processes", "ringway", ends, 8, 1024)]).0;
    assert!(page((1, 1)).contains("pinned to processors<") && page((2, 1)).contains("sharing them"));
}

#[test]
fn an_interrupted_run_says_so() {
    let machine = machine();
    let page = |interrupted| Report { machine: &machine, rows: &[], interrupted }.html();
    assert!(page(true).contains("Interrupted") && !page(false).contains("Interrupted"));
}

/// Rows with every key, each with `value`.
fn filled(value: Value) -> Vec<Value> {
    let keys = every_kind().iter().filter_map(Value::as_object).flat_map(|row| row.keys().cloned()).collect::<Vec<_>>();
    let benches = ["latency", "throughput", "scale", "load", "idle", "process", "pool", "field", "compare", "unknown"];
    let mut rows = Vec::new();
    for bench in benches {
        let mut row = json!({});
        keys.iter().for_each(|key| row[key] = value.clone());
        row["bench"] = bench.into();
        // Far enough that there are plots.
        for (system, size) in [("ringway", 8), ("unix", 8), ("ringway", 64)] {
            let mut one = row.clone();
            (one["system"], one["size"], one["kind"], one["way"]) =
                (system.into(), size.into(), "throughput".into(), "copy".into());
            rows.push(one);
        }
        rows.push(row);
    }
    rows
}

#[test]
fn rows_that_nobody_should_write_are_no_failure() {
    let hostile = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(1),
        json!(1e300),
        json!(1e-300),
        json!(u64::MAX),
        json!(true),
        json!(""),
        json!("text"),
        json!([]),
        json!([[50, 1]]),
        json!([[50, null], ["x", 1], [99], [100, 1e300], [-5, 3], [50, 7], [50, 7]]),
        json!({}),
        json!({"median": 0, "min": null, "max": 1e300}),
        json!({"median": 1, "min": 5, "max": 0.1}),
        json!({"ratio": {"median": 1e-29, "min": 1e-29, "max": 1e29}}),
    ];
    for value in hostile {
        whole(&filled(value));
    }
    whole(&[Value::Null, json!(1), json!([]), json!("x"), json!({})]);
    let nothing = Value::Null;
    assert!(Report { machine: &nothing, rows: &[], interrupted: true }.html().contains("unknown"));
}

#[test]
fn nothing_from_a_row_is_taken_for_markup() {
    let name = "</script></pre></svg><script>alert(1)</script>&\"'\u{1b}[31m\u{0}";
    let long = "x".repeat(300);
    let mut rows = every_kind();
    for name in [name, &long] {
        for row in every_kind() {
            let mut row = row;
            for key in ["system", "mode", "note", "error", "row", "rival", name] {
                row[key] = name.into();
            }
            rows.push(row);
        }
        rows.push(json!({"bench": name, "system": name}));
    }
    let (page, plots) = whole(&rows);
    assert!(!page.contains("alert(1)</script>") && page.contains("&lt;/script&gt;"));
    assert!(page.contains(&long), "the tables have the whole name");
    assert!(plots.iter().any(|(_, svg)| svg.contains("xxxx…")), "the plots have what fits");
    let machine = json!({"cpu": name});
    let page = Report { machine: &machine, rows: &[], interrupted: false }.html();
    assert!(!page.contains("<script>alert"));
}

#[test]
fn numbers_are_short() {
    assert_eq!([0.0, 0.012_34, 0.5, 12.34, 123.4, 99.96].map(digits), ["0", "0.0123", "0.5", "12.3", "123", "100"]);
    assert_eq!([12.0, 1234.0, 9_999_000.0, 2e9].map(time), ["12 ns", "1.23 µs", "10 ms", "2 s"]);
    assert_eq!((count(1e6).as_str(), bytes(1024.0).as_str(), bytes(1000.0).as_str()), ("1 M", "1 KiB", "1000 B"));
    let row = json!({"a": 1e300, "b": "x\u{7}", "p50": 5});
    assert_eq!((Row(&row).number("a"), Row(&row).text("b")), (None, Some("x\u{fffd}".into())));
    assert_eq!(Row(&row).distribution(), [(50.0, 5.0)]);
}
