//! Every verb on a finished run.

use crate::support::*;
use ndarray::Array2;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

fn npy(path: &Path) -> Array2<f32> {
    ndarray_npy::read_npy(path).expect("an NPY file of two dimensions")
}

/// Width and height of a PNG file that decodes.
fn png(path: &Path) -> (u32, u32) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert!(pixels.iter().any(|&p| p != pixels[0]), "{} is blank", path.display());
    (info.width, info.height)
}

fn numbers(value: &Value, keys: &[&str]) -> Vec<f64> {
    keys.iter().map(|key| value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))).collect()
}

/// Two pixels between pictures and around them; 28 pixels drawn twice as large.
fn side(pictures: u32) -> u32 {
    2 + pictures * (2 * 28 + 2)
}

#[test]
fn train_in_an_empty_folder() {
    let folder = folder();
    let at = folder.path();
    let ran = elbo(at, &format!("train mnist {SMALL} --epochs 2 --json")).ok();
    let lines = ran.json_lines();
    assert_eq!(lines.len(), 2);
    let run = at.join("runs/mnist-mlp-400");
    assert_eq!(fs::read_to_string(run.join("metrics.jsonl")).unwrap(), ran.stdout);
    for line in &lines {
        for split in ["train", "heldout"] {
            let terms = numbers(&line[split], &["neg_elbo", "reconstruction", "kl"]);
            assert!((terms[0] - terms[1] - terms[2]).abs() < 1e-9 * terms[0], "{line}");
        }
        numbers(line, &["epoch", "step", "beta", "active_units", "samples_per_second", "learning_rate", "seconds"]);
    }
    for said in [
        "10000 rows of 784 columns (train 9000, test 1000)",
        "784-16-3-16-784",
        "bernoulli",
        "grey",
        "epoch 2/2",
        "runs/mnist-mlp-400/model.safetensors",
        "elbo sample runs/mnist-mlp-400",
    ] {
        assert!(ran.stderr.contains(said), "{said} in\n{}", ran.stderr);
    }
    for file in ["config.toml", "model.safetensors", "checkpoint", "samples.png", "reconstructions.png"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    // The name is taken, so the next run gets a number.
    let ran = elbo(at, &format!("train mnist {SMALL} --epochs 1 --quiet")).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert!(at.join("runs/mnist-mlp-400-2/model.safetensors").is_file());
}

#[test]
fn evaluate_says_what_training_said() {
    let run = digits();
    let last = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    let report = elbo(run, "evaluate . --samples 20 --json").ok().json();
    let keys = ["neg_elbo", "reconstruction", "kl"];
    assert_eq!(numbers(&report, &keys), numbers(&last["heldout"], &keys));
    assert_eq!((report["rows"].as_u64(), &report["active_units"]), (Some(1000), &last["active_units"]));
    assert_eq!((report["selected"].as_str(), report["split"].as_str()), (Some("last"), Some("test")));
    let found = numbers(&report, &["neg_elbo", "nll", "nll_stderr"]);
    assert!(found[1] < found[0] && found[2] > 0.0 && found[2] < 5.0, "{report}");

    // By one sample, ten and twenty: from one set of draws the bound never falls, and the first is −ELBO once more.
    let bounds = report["bounds"].as_array().unwrap();
    let bounds: Vec<Vec<f64>> = bounds.iter().map(|b| numbers(b, &["samples", "nll", "nll_stderr"])).collect();
    assert!(bounds.iter().map(|b| b[0]).eq([1.0, 10.0, 20.0]) && bounds[2][1..] == found[1..], "{report}");
    assert!(bounds[0][1] > bounds[1][1] && bounds[1][1] > bounds[2][1] && (bounds[0][1] - found[0]).abs() < 1.0);
    let threads = elbo(run, "evaluate . --samples 20 --threads 3 --json").ok().json();
    assert_eq!(threads, report);

    let plain = elbo(run, "evaluate . --json").ok().json();
    assert!(
        plain.get("nll").is_none() && plain.get("bounds").is_none() && plain["neg_elbo"] == report["neg_elbo"],
        "{plain}"
    );
    let other = elbo(run, "evaluate . --seed 9 --json").ok().json();
    assert!(other["neg_elbo"] != report["neg_elbo"] && other["aggregate"] != report["aggregate"]);
    let train = elbo(run, "evaluate . mnist --split train --json").ok().json();
    assert_eq!(train["rows"], 9000);
    let text = elbo(run, "evaluate model.safetensors mnist --quiet").ok();
    assert!(text.stdout.contains("-ELBO") && text.stderr.is_empty(), "{}{}", text.stdout, text.stderr);
    assert!(text.stdout.contains("mutual information") && text.stdout.contains("KL of each latent"), "{}", text.stdout);
    parts_of_the_kl(&report, 1000);
    parts_of_the_kl(&train, 2000);
}

/// By latent, of all rows; and of the posteriors of `rows` rows together, from other draws: those of a row's KL scatter by less
/// than 5 nats, and so their mean of 1,000 by 0.16.
fn parts_of_the_kl(report: &Value, rows: u64) {
    let by_latent: f64 = report["kl_per_latent"].as_array().unwrap().iter().map(|kl| kl.as_f64().unwrap()).sum();
    let (kl, aggregate) = (report["kl"].as_f64().unwrap(), &report["aggregate"]);
    assert!((by_latent - kl).abs() < 1e-9, "{report}");
    assert_eq!(aggregate["rows"].as_u64(), Some(rows));
    let found = numbers(aggregate, &["kl", "mutual_information", "total_correlation", "dimension_kl"]);
    assert!((found[0] - found[1..].iter().sum::<f64>()).abs() < 1e-9 && (found[0] - kl).abs() < 0.8, "{report}");
    assert!(found[1] <= (rows as f64).ln() && found.iter().all(|part| *part > 0.0), "{report}");
}

#[test]
fn info_names_the_model() {
    let info = info(digits());
    assert_eq!(info["preset"], "mlp-400");
    // 784·16 + 16, two heads 16·3 + 3, 3·16 + 16, 16·784 + 784.
    assert_eq!(info["parameters"], 12560 + 102 + 64 + 13328);
    let digest = info["digest"].as_str().unwrap();
    assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{digest}");
    assert_eq!(
        (&info["epoch"], &info["selected"], &info["likelihood"]),
        (&2.into(), &"last".into(), &"bernoulli".into())
    );
    assert!(elbo(digits(), "info .").ok().stdout.contains(digest));
    // The checkpoint of a finished run without a validation split has the same parameters.
    let checkpoint = elbo(digits(), "info checkpoint --json").ok().json();
    assert_eq!((&checkpoint["kind"], &checkpoint["digest"]), (&"checkpoint".into(), &info["digest"]));
    assert_eq!((&checkpoint["parameters"], &checkpoint["epoch"]), (&info["parameters"], &info["epoch"]));
    assert!(elbo(digits(), "info checkpoint").ok().stdout.contains(digest));
}

#[test]
fn samples_are_a_function_of_the_seed() {
    let (folder, run) = (folder(), digits().display());
    let at = folder.path();
    let report = elbo(at, &format!("sample {run} --count 5 --seed 4 --out a.npy --json")).ok().json();
    assert_eq!((&report["rows"], &report["columns"]), (&5.into(), &784.into()));
    elbo(at, &format!("sample {run} --count 9 --seed 4 --out b.npy --threads 3")).ok();
    elbo(at, &format!("sample {run} --count 5 --seed 5 --out c.npy")).ok();
    let [a, b, c] = ["a.npy", "b.npy", "c.npy"].map(|f| npy(&at.join(f)));
    assert_eq!((a.dim(), b.dim()), ((5, 784), (9, 784)));
    assert!(a.rows().into_iter().zip(b.rows()).all(|(a, b)| a == b), "more samples begin with the same ones");
    assert_ne!(a, c);
    assert!(a.iter().all(|p| (0.0..=1.0).contains(p)));
    elbo(at, &format!("sample {run} --count 9 --out x.png")).ok();
    assert_eq!(png(&at.join("x.png")), (side(3), side(3)));
    // Without --out it goes into the run's folder.
    elbo(at, &format!("sample {run} --count 4 --seed 77")).ok();
    assert_eq!(png(&digits().join("samples-77.png")), (side(2), side(2)));
}

#[test]
fn encode_then_decode_is_reconstruct() {
    let (folder, run) = (folder(), digits().display());
    let at = folder.path();
    elbo(at, &format!("encode {run} mnist --out z.npy --threads 1")).ok();
    elbo(at, &format!("encode {run} --out z.csv --threads 3")).ok();
    elbo(at, &format!("encode {run} mnist --with-variance --out both.csv")).ok();
    elbo(at, &format!("decode {run} z.npy --out x.npy")).ok();
    elbo(at, &format!("decode {run} z.csv --out y.npy")).ok();
    elbo(at, &format!("reconstruct {run} mnist --out r.npy")).ok();
    let [z, x, y, r] = ["z.npy", "x.npy", "y.npy", "r.npy"].map(|f| npy(&at.join(f)));
    assert_eq!((z.dim(), r.dim()), ((1000, 3), (1000, 784)));
    // Through either format, on any number of threads: the same bits.
    assert!(x == r && y == r);
    let text = fs::read_to_string(at.join("both.csv")).unwrap();
    assert!(text.starts_with("z0,z1,z2,log_variance0,log_variance1,log_variance2\n"), "{}", &text[..80]);
    assert_eq!(text.lines().count(), 1001);
    let first: Vec<f32> = text.lines().nth(1).unwrap().split(',').map(|n| n.parse().unwrap()).collect();
    assert_eq!(first[..3], *z.row(0).as_slice().unwrap());

    elbo(at, &format!("reconstruct {run} mnist --count 5 --out pairs.png")).ok();
    assert_eq!(png(&at.join("pairs.png")), (side(5), side(2)));
    elbo(at, &format!("reconstruct {run} mnist --count 5 --out five.csv")).ok();
    assert_eq!(fs::read_to_string(at.join("five.csv")).unwrap().lines().count(), 6);
}

#[test]
fn interpolate_meets_its_ends() {
    let (folder, run) = (folder(), digits().display());
    let at = folder.path();
    elbo(at, &format!("interpolate {run} mnist --from 3 --to 17 --steps 4 --out line.npy")).ok();
    elbo(at, &format!("reconstruct {run} mnist --out r.npy")).ok();
    let (line, r) = (npy(&at.join("line.npy")), npy(&at.join("r.npy")));
    assert_eq!(line.dim(), (4, 784));
    assert_eq!((line.row(0), line.row(3)), (r.row(3), r.row(17)));
    elbo(at, &format!("interpolate {run} --from class:0 --to class:9 --steps 7 --out line.png")).ok();
    assert_eq!(png(&at.join("line.png")), (side(7), side(1)));
}

#[test]
fn scores_and_what_follows_from_them() {
    let (folder, run) = (folder(), digits().display());
    let at = folder.path();
    let csv = elbo(at, &format!("score {run} mnist --quiet")).ok().stdout;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("row,neg_elbo,reconstruction,kl"));
    let rows: Vec<Vec<f64>> = lines.map(|l| l.split(',').map(|n| n.parse().unwrap()).collect()).collect();
    assert_eq!(rows.len(), 1000);
    for (i, row) in rows.iter().enumerate() {
        assert!(row[0] == i as f64 && (row[1] - row[2] - row[3]).abs() < 1e-9 * row[1], "{row:?}");
    }
    let to_file = elbo(at, &format!("score {run} mnist --out s.csv --json --quantile 0.9")).ok();
    assert_eq!(fs::read_to_string(at.join("s.csv")).unwrap(), csv);
    let report = to_file.json();
    let mean = rows.iter().map(|r| r[1]).sum::<f64>() / 1000.0;
    let found = numbers(&report, &["neg_elbo", "threshold", "flagged"]);
    assert!((found[0] - mean).abs() < 1e-9 * mean);
    let above = rows.iter().filter(|r| r[1] > found[1]).count();
    assert_eq!((found[2], above), (100.0, 100));
    assert!(report.get("auc").is_none());
    let same = elbo(at, &format!("score {run} mnist --contamination 0.1 --json")).ok().json();
    assert!((same["threshold"].as_f64().unwrap() - found[1]).abs() < 1e-9 * found[1], "{same}");

    // Labels that follow the scores exactly give an AUC of 1.
    let labels: String = rows.iter().map(|r| if r[1] > found[1] { "odd\n" } else { "usual\n" }).collect();
    fs::write(at.join("labels.csv"), format!("label\n{labels}")).unwrap();
    let auc = |args: &str| elbo(at, &format!("score {run} mnist --json {args}")).ok().json()["auc"].as_f64().unwrap();
    assert_eq!(auc("--labels labels.csv --positive odd"), 1.0);
    assert_eq!(auc("--labels labels.csv --positive usual"), 0.0);
    // The data's own labels: the share of pairs of a one and another digit in which the one scores higher.
    let data = elbo::data::load("mnist").unwrap();
    let ones = data.test().unwrap().positions_of("1").unwrap();
    let is_one = |row: &[f64]| ones.contains(&(row[0] as u32));
    let (a, b): (Vec<_>, Vec<_>) = rows.iter().partition(|row| is_one(row));
    let wins = a.iter().flat_map(|a| b.iter().map(|b| f64::from(u8::from(a[1] > b[1])))).sum::<f64>();
    assert!((auc("--positive 1.0") - wins / (a.len() * b.len()) as f64).abs() < 1e-12);
    let sampled = elbo(at, &format!("score {run} mnist --samples 3 --json")).ok().json();
    assert_eq!(sampled["kl"], report["kl"]);
    // An estimate of what evaluate estimates with one draw, and not what the posterior's mean gives.
    let evaluated = elbo(at, &format!("evaluate {run} --json")).ok().json();
    let [sampled, evaluated] = [sampled, evaluated].map(|r| r["neg_elbo"].as_f64().unwrap());
    assert!((sampled - evaluated).abs() < 1.0 && (sampled - mean).abs() > 1e-3, "{sampled} {evaluated} {mean}");
}

#[test]
fn a_table_from_end_to_end() {
    let folder = folder();
    let at = folder.path();
    elbo(at, "train gaussian-2d --epochs 2 --validation 0.2 --out g --quiet").ok();
    let info = info(&at.join("g"));
    assert_eq!((&info["preset"], &info["selected"]), (&"tabular".into(), &"best validation".into()));
    assert_eq!(elbo(at, "evaluate g --split validation --json").ok().json()["rows"], 200);
    assert_eq!(elbo(at, "evaluate g --split train --json").ok().json()["rows"], 800);
    elbo(at, "sample g --count 10").ok();
    let text = fs::read_to_string(at.join("g/samples-0.csv")).unwrap();
    assert!(text.starts_with("x0,x1\n") && text.lines().count() == 11, "{text}");
    elbo(at, "reconstruct g --out r.png --count 50").ok();
    elbo(at, "encode g --out z.png").ok();
    assert!(png(&at.join("r.png")) > (100, 100) && png(&at.join("z.png")) > (100, 100));
}

#[test]
fn bench_and_gradcheck_report() {
    let at = folder();
    let args = "bench --preset mlp-400 --hidden 16 --data mnist --batch-size 128 --threads 2 --epochs 2 --json";
    let report = elbo(at.path(), args).ok().json();
    let found = numbers(&report, &["samples_per_second", "gflops", "peak_share", "threads", "batch_size", "epochs"]);
    assert!(found.iter().all(|&x| x > 0.0) && found[2] < 1.0, "{report}");
    assert_eq!(found[3..], [2.0, 128.0, 2.0]);
    assert_eq!((&report["preset"], &report["data"]), (&"mlp-400".into(), &"mnist".into()));
    assert!(["avx512", "avx2", "portable", "foreign"].contains(&report["isa"].as_str().unwrap()));
    if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
        assert_eq!(report["threads_used"], 2);
        let trips = report["core_round_trip_ns"].as_array().unwrap();
        assert!(trips.len() == 2 && trips.iter().all(|ns| ns.as_f64().unwrap() > 1.0), "{report}");
        assert!(["shared", "apart", "changed"].contains(&report["cores"].as_str().unwrap()));
    }
    let first = report["first_step_seconds"].as_f64().unwrap();
    assert!(first > 0.0 && first < 60.0, "{first}");
    assert_eq!((&report["dense"], &report["stages"]), (&json!(false), &Value::Null));
    let args = "bench --hidden 16 --data mnist --batch-size 500 --epochs 1 --threads 2 --dense --profile";
    let report = elbo(at.path(), &format!("{args} --json")).ok().json();
    assert_eq!(report["dense"], true);
    let stages = report["stages"].as_array().unwrap();
    let share: f64 = stages.iter().map(|s| s["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6, "all of the time, and no more: {share}");
    for (stage, parameter) in [("forward", "encoder.0.weight"), ("gradient", "decoder.1.weight")] {
        let found = stages.iter().find(|s| s["stage"] == stage && s["parameter"] == parameter).unwrap();
        assert!((1e-3..1.5).contains(&found["peak_share"].as_f64().unwrap()), "{found}");
    }
    let table = elbo(at.path(), args).ok().stdout;
    assert!(table.contains("gradient encoder.0.weight") && table.contains("between"), "{table}");

    // Two columns are not worth a second thread, nor are more threads than there are cores.
    let args =
        "bench --preset tabular --hidden 4 --data mnist --likelihood bernoulli --batch-size 4 --threads 1 --epochs 1";
    let report = elbo(at.path(), &format!("{args} --json")).ok().json();
    let alone = [
        ("threads", json!(1)),
        ("threads_used", json!(1)),
        ("cores", Value::Null),
        ("core_round_trip_ns", Value::Null),
    ];
    for (key, value) in alone {
        assert_eq!(report[key], value, "{key}");
    }
    assert!(elbo(at.path(), args).ok().stdout.contains("1 thread, 1 used"));

    let table = elbo(at.path(), "gradcheck --preset mlp-one --hidden 6 --latent 2 --inputs 5").ok();
    assert!(table.stdout.contains("encoder.0.weight") && table.stdout.contains("agree"), "{}", table.stdout);
    let report = elbo(at.path(), "gradcheck --preset tabular --hidden 6 --json").ok().json();
    assert_eq!(report["passed"], true);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command(digits(), "score . mnist --split all").spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn help_teaches_with_examples() {
    let verbs = "train evaluate info sample reconstruct encode decode interpolate score import export bench gradcheck";
    let at = folder();
    for verb in verbs.split(' ') {
        let help = elbo(at.path(), &format!("{verb} --help")).ok().stdout;
        assert!(help.contains("Examples:") && help.contains(&format!("  elbo {verb}")), "{help}");
        for flag in ["--seed", "--threads", "--quiet", "--json"] {
            assert!(help.contains(flag), "{verb} {flag}");
        }
    }
    assert!(elbo(at.path(), "--version").ok().stdout.starts_with("elbo "));
}

/// Every verb that reads rows does so from a file beyond `--memory` as from memory.
#[test]
fn data_beyond_the_memory_allowed_are_streamed_with_the_same_results() {
    let folder = folder();
    let at = folder.path();
    let mut file = vec![0, 0, 8, 3, 0, 0, 0x07, 0xd0, 0, 0, 0, 8, 0, 0, 0, 8];
    file.extend((0..2000 * 64).map(|i: u32| (i.wrapping_mul(i) / 977 + i / 64 * 5) as u8));
    fs::write(at.join("p.idx"), file).unwrap();
    let digest = |flags: &str, said: bool| {
        let ran =
            elbo(at, &format!("train p.idx {SMALL} --epochs 2 --validation 0.1 --out run --overwrite {flags}")).ok();
        assert_eq!(
            ran.stderr.contains("2000 rows of 64 columns (train 1800, validation 200), streamed"),
            said,
            "{}",
            ran.stderr
        );
        info(&at.join("run"))["digest"].clone()
    };
    let memory = digest("", false);
    assert_eq!(memory, digest("--memory 64K", true));
    assert_eq!(memory, digest("--memory 125K", false));
    for verb in
        ["evaluate run --samples 3 --json", "score run", "encode run --out z.csv", "reconstruct run --out x.csv"]
    {
        let read = |flags: &str| {
            let ran = elbo(at, &format!("{verb} {flags}")).ok();
            assert_eq!(ran.stderr.contains("64 columns, streamed"), flags.contains("64K"), "{}", ran.stderr);
            let files = ["z.csv", "x.csv"].map(|name| fs::read(at.join(name)).ok());
            (ran.stdout, files)
        };
        assert!(read("--split validation") == read("--split validation --memory 64K"), "{verb}");
    }
    elbo(at, "train --resume run --epochs 3 --memory 64K").ok();
    assert_eq!(info(&at.join("run"))["epoch"], 3);
    let bench = elbo(at, "bench --data p.idx --batch-size 500 --epochs 1 --memory 64K --json").ok().json();
    assert_eq!(bench["streamed"], true);

    // What cannot be streamed stays in memory, and says so.
    fs::write(at.join("t.csv"), "a,b\n".to_owned() + &"1,2\n".repeat(50)).unwrap();
    let ran = elbo(at, "train t.csv --likelihood gaussian --epochs 1 --memory 100 --out table").ok();
    assert!(ran.stderr.contains("t takes 400 bytes of memory, and the limit is 100 bytes"), "{}", ran.stderr);
    let ran = elbo(at, "train p.idx --memory much");
    assert!(ran.code == 2 && ran.stderr.contains("`much` is no size of memory"), "{}", ran.stderr);
}

/// Pressed a thousand times too hard, latents say nothing; left alone, they are in use, and nothing is said.
#[test]
fn a_collapse_is_told_with_what_to_try() {
    let folder = folder();
    let at = folder.path();
    let train = |name: &str, args: &str| {
        let all = format!("train gaussian-2d --hidden 4 --latent 2 --batch-size 10 --out {name} {args}");
        elbo(at, &all).ok().stderr
    };
    let told = train("pressed", "--epochs 12 --beta 1000 --learning-rate 0.01");
    let warnings: Vec<&str> = told.matches("posterior collapse: 0 of 2 latents in use, KL 0.00 nats").collect();
    assert_eq!(warnings.len(), 2, "once when it comes, and at the end:\n{told}");
    for remedy in
        ["a smaller --beta (it is 1000)", "--likelihood gaussian-learned", "--warmup-epochs", "--free-bits 0.1"]
    {
        assert!(told.contains(remedy), "{remedy} in\n{told}");
    }
    let tried = train("tried", "--epochs 12 --beta 1000 --learning-rate 0.01 --free-bits 0 --warmup-epochs 1");
    assert!(tried.contains("posterior collapse") && !tried.contains("--warmup-epochs"), "{tried}");
    assert!(!tried.contains("--free-bits 0.1"), "{tried}");
    let rising = train("rising", "--epochs 12 --beta 1000 --learning-rate 0.01 --capacity 5 --capacity-epochs 1000");
    // Nothing while it rises; here it is used without telling anything of x.
    assert_eq!(rising.matches("posterior collapse").count(), 1, "{rising}");
    assert!(rising.contains("a larger --capacity (it is 5)") && !rising.contains("smaller --beta"), "{rising}");
    let penalised = train("penalised", "--epochs 12 --beta 1000 --penalty tc:2 --learning-rate 0.01 --validation 0.1");
    assert!(penalised.contains("a smaller weight of the penalty (it is tc:2)"), "{penalised}");
    assert!(penalised.contains("by the objective without its penalty"), "{penalised}");
    // The variance of a single validation row's posterior mean is nothing to go by.
    let table: String = (0..100).map(|i| format!("{},{}\n", i % 10, i / 10)).collect();
    fs::write(at.join("t.csv"), format!("a,b\n{table}")).unwrap();
    let single = "train t.csv --hidden 4 --latent 2 --batch-size 10 --epochs 110 --beta 1000 --learning-rate 0.01";
    assert!(!elbo(at, &format!("{single} --validation 1 --out single")).ok().stderr.contains("collapse"));
    assert!(
        elbo(at, &format!("{} --validation 40 --out forty", single.replace("110", "200")))
            .ok()
            .stderr
            .contains("collapse")
    );
    let early = train("early", "--epochs 9 --beta 1000 --learning-rate 0.01");
    assert!(!early.contains("collapse"), "900 steps: too early to say\n{early}");
    let sound = train("sound", "--epochs 12 --likelihood gaussian:0.05 --learning-rate 0.01");
    assert!(!sound.contains("collapse"), "{sound}");
}

/// On a terminal there is a bar, with the terms so far behind it; `script` of util-linux is the terminal.
#[test]
fn a_terminal_shows_a_bar() {
    let folder = folder();
    let program = env!("CARGO_BIN_EXE_elbo");
    // A second's work: the bar is drawn ten times in it.
    let call = format!("'{program}' train mnist --batch-size 32 --epochs 3 --out bar");
    let ran = std::process::Command::new("script")
        .args(["-qec", &call, "/dev/null"])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script, of util-linux");
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{shown}");
    let drawn: Vec<&str> =
        shown.split('\r').filter(|part| part.contains("examples/s, ") && part.contains(" left, ")).collect();
    assert!(drawn.len() > 2 && drawn.iter().any(|bar| bar.contains("-ELBO ") && bar.contains("epoch ")), "{shown}");
    assert!(drawn.iter().any(|bar| bar.contains('█') || bar.contains('░')), "{shown}");
    // Lines of finished epochs stay, and say the same as where there is no terminal.
    for epoch in 1..=3 {
        assert!(shown.contains(&format!("epoch {epoch}/3  train -ELBO ")), "{shown}");
    }
}
