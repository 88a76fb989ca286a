use config_model::file::ParsedFile;
fn main() {
    for path in std::env::args().skip(1) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let name = std::path::Path::new(&path).file_name().unwrap().to_string_lossy().into_owned();
        let start = std::time::Instant::now();
        let file = ParsedFile::parse(&name, &text, None);
        let fresh = start.elapsed();
        let (mut again, mut best) = (fresh, fresh);
        for _ in 0..std::env::var("N").ok().and_then(|n| n.parse().ok()).unwrap_or(20) {
        let start = std::time::Instant::now();
        let a = ParsedFile::parse(&name, &text, Some(&file));
        again = again.min(start.elapsed());
        let start = std::time::Instant::now();
        let b = ParsedFile::parse(&name, &text, None);
        best = best.min(start.elapsed());
        assert_eq!(a.diagnostics, b.diagnostics);
        }
        let fresh = best;
        for d in file.diagnostics.iter().take(40) { if std::env::var("SNIP").is_ok() { println!("{}", d.render(&text, false)); } else { println!("{d}"); } }
        println!("{name}: {} resources, {} diagnostics, refused {}, {} bytes, fresh {fresh:?}, again {again:?}", file.resources.len(), file.diagnostics.len(), file.is_refused(), text.len());
    }
}
