//! Contact sheets of finished jobs.

use super::scene::{Scene, ended_well, gpu, refused};
use viseme::media::frames::read_picture;

#[test]
fn a_sheet_shows_a_job_and_changes_nothing() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(30, 1.2);
    ended_well(&mut scene.lipsync(&[("--out", "plain")]));
    std::fs::write(scene.path("phones.txt"), "0\t0.4\t\u{259}\n0.4\t1.2\tsil\n").expect("written");
    let with = [("--sheet", "sheet.png"), ("--phones", "phones.txt")];
    ended_well(&mut scene.lipsync(&with));
    assert_eq!(scene.frames("out"), scene.frames("plain"));
    let lipsync = read_picture(&scene.path("sheet.png")).expect("a sheet");

    ended_well(&mut scene.animate(&[&with[..], &[("--out", "animated")]].concat()));
    let animate = read_picture(&scene.path("sheet.png")).expect("a sheet");
    // Three groups of frames each, without a mask in animation.
    assert_eq!(animate.width, lipsync.width);
    assert!(animate.height < lipsync.height, "{} of {}", animate.height, lipsync.height);
    scene.holds(&["animated", "out", "phones.txt", "plain", "sheet.png"]);
}

#[test]
fn a_sheet_that_cannot_be_written_costs_no_video() {
    if !gpu() {
        return;
    }
    let scene = Scene::new(3, 0.12);
    std::fs::create_dir(scene.path("folder.png")).expect("a folder");
    refused(&mut scene.lipsync(&[("--sheet", "folder.png")]), 7, &["folder.png"]);
    assert_eq!(scene.frames("out").len(), 3);

    // What can be known is said before the work.
    std::fs::write(scene.path("phones.txt"), "0 1 a\n").expect("written");
    for (options, code, named) in [
        (&[("--sheet", "sheet.jpg")][..], 2, ".png"),
        (&[("--sheet", "none/sheet.png")], 7, "none"),
        (&[("--sheet", "sheet.png"), ("--phones", "phones.txt")], 3, "phones.txt, line 1"),
        (&[("--phones", "phones.txt")], 2, "--sheet"),
    ] {
        refused(&mut scene.lipsync(&[options, &[("--out", "other")]].concat()), code, &[named]);
    }
    scene.holds(&["folder.png", "out", "phones.txt"]);
}
