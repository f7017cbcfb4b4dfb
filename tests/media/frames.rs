use super::{at, folder, fps, names, number_of, numbered, refused};
use std::path::Path;
use std::sync::{Arc, Mutex};
use viseme::media::frames::{BackgroundSink, FolderSink, FolderSource, FrameReader, read_picture};
use viseme::media::{Fps, Frame, FrameSink, FrameSource};
use viseme::ops::Depth;

const RATES: [(u32, u32); 9] =
    [(25, 1), (24, 1), (24_000, 1001), (30_000, 1001), (30, 1), (50, 1), (60, 1), (12, 1), (7, 3)];

#[test]
fn frames_at_another_rate_are_those_on_screen() {
    for ((num, den), (other_num, other_den), index, want) in [
        ((25, 1), (25, 1), 7, 7),
        ((50, 1), (25, 1), 0, 1),
        ((25, 1), (50, 1), 0, 0),
        ((25, 1), (50, 1), 3, 1),
        ((30, 1), (25, 1), 4, 5),
        ((30_000, 1001), (25, 1), 24, 29),
        ((25, 1), (30_000, 1001), 29, 24),
        ((1, 1), (25, 1), 24, 0),
        ((1, 1), (25, 1), 25, 1),
    ] {
        let got = fps(num, den).frame_of(index, fps(other_num, other_den));
        assert_eq!(got, want, "frame {index} at {other_num}/{other_den} as one at {num}/{den}");
    }
    for (here, other, count, want) in [
        (25, 30, 30, 25),
        (30, 25, 25, 30),
        (25, 25, 0, 0),
        (1, 25, 1, 1),
        (25, 50, 3, 1),
        (25, 50, 4, 2),
        (25, 50, 1, 1),
        (50, 25, 3, 6),
        (25, 24, 1, 1),
    ] {
        assert_eq!(fps(here, 1).frames_in(count, fps(other, 1)), want, "{count} frames of {other} at {here}");
    }
}

#[test]
fn frame_numbers_agree_with_counting_through_time() {
    for (num, den) in RATES {
        for (other_num, other_den) in RATES {
            let (here, other) = (fps(num, den), fps(other_num, other_den));
            // Time in units of 1 / (2 num other_num) seconds: everything is a whole number.
            let (frame, other_frame) =
                (2 * u64::from(den) * u64::from(other_num), 2 * u64::from(other_den) * u64::from(num));
            for index in 0..200 {
                let middle = index * other_frame + other_frame / 2;
                let want = (0..).find(|k| (k + 1) * frame > middle).expect("a frame");
                assert_eq!(here.frame_of(index, other), want, "{here} from {other}, frame {index}");
            }
            for count in 0..200 {
                let end = count * other_frame;
                let counted = (0..).take_while(|k| k * frame + frame / 2 < end).count() as u64;
                let want = counted.max(u64::from(count > 0));
                let got = here.frames_in(count, other);
                assert_eq!(got, want, "{count} frames of {other} at {here}");
                assert!(
                    counted == 0 || other.frame_of(got - 1, here) < count,
                    "{count} of {other} at {here}: past the end"
                );
            }
        }
    }
}

#[test]
fn impossible_rates_are_refused() {
    for (num, den) in [(0, 1), (1, 0), (0, 0), (2_000, 1), (1, 2_000)] {
        refused(Fps::new(num, den), 3, &["frame rate", &format!("{num}/{den}")]);
    }
    // Whatever there is has a rate: the fields are not a caller's to set.
    assert_eq!((fps(30_000, 1001).num(), fps(30_000, 1001).den()), (30_000, 1001));
    assert_eq!(fps(30_000, 1001).to_string(), "30000/1001");
    assert_eq!(fps(25, 1).to_string(), "25");
}

/// Numbered frames without a file; counts its seeks and what it read.
struct Counted {
    size: [u32; 2],
    count: u64,
    next: u64,
    log: Arc<Mutex<[u64; 2]>>,
}

impl FrameSource for Counted {
    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn fps(&self) -> Fps {
        Fps::INSIDE
    }

    fn next_frame(&mut self) -> viseme::Result<Option<Frame>> {
        if self.next >= self.count {
            return Ok(None);
        }
        self.log.lock().expect("log")[1] += 1;
        self.next += 1;
        Ok(Some(numbered(self.next - 1, self.size)))
    }

    fn seek(&mut self, index: u64) -> viseme::Result<()> {
        self.log.lock().expect("log")[0] += 1;
        self.next = index;
        Ok(())
    }
}

#[test]
fn a_reader_goes_back_and_forth() {
    let log = Arc::new(Mutex::new([0, 0]));
    let mut reader = FrameReader::new(Box::new(Counted { size: [16, 8], count: 200, next: 0, log: log.clone() }));
    let mut expect = |index: u64| {
        let frame = reader.frame(index).expect("readable").map(number_of);
        assert_eq!(frame, (index < 200).then_some(index), "frame {index}");
    };
    (0..200).for_each(&mut expect);
    assert_eq!(*log.lock().expect("log"), [0, 200], "forward reads each frame once");
    (0..200).rev().for_each(&mut expect);
    let [seeks, read] = *log.lock().expect("log");
    assert!(seeks <= 200 / 32 + 1 && read <= 2 * 200 + 64, "backwards took {seeks} seeks and {read} frames");
    for index in [199, 200, 0, 5, 5, 4, 5, 1000, 3, 150, 149, 120, 121, 0, 199, 500, 499, 198] {
        expect(index);
    }
}

#[test]
fn a_reader_of_large_frames_keeps_two() {
    let log = Arc::new(Mutex::new([0, 0]));
    let mut reader = FrameReader::new(Box::new(Counted { size: [8192, 4096], count: 5, next: 0, log }));
    for index in [0, 1, 2, 1, 0, 4, 3, 5] {
        let frame = reader.frame(index).expect("readable").map(number_of);
        assert_eq!(frame, (index < 5).then_some(index), "frame {index}");
    }
}

fn save(path: &Path, frame: &Frame) {
    image::save_buffer(path, &frame.rgb, frame.width, frame.height, image::ColorType::Rgb8).expect("a picture");
}

#[test]
fn a_folder_is_read_in_the_order_of_its_numbers() {
    let folder = folder();
    for (name, number) in [("f10.png", 3), ("f2.png", 1), ("f1.PNG", 0), ("f007.png", 2), ("f11.jpg", 4)] {
        save(&at(&folder, name), &numbered(number, [32, 16]));
    }
    std::fs::write(at(&folder, "notes.txt"), "no picture").expect("written");
    std::fs::write(at(&folder, ".f3.png"), "hidden").expect("written");
    std::fs::create_dir(at(&folder, "f4.png")).expect("a folder that is called like a picture");

    let mut source = FolderSource::open(folder.path(), fps(30, 1)).expect("a folder");
    assert_eq!((source.count(), source.size(), source.fps()), (5, [32, 16], fps(30, 1)));
    for index in [0, 1, 2, 3, 4] {
        assert_eq!(source.next_frame().expect("readable").as_ref().map(number_of), Some(index));
    }
    assert_eq!(source.next_frame().expect("its end"), None);
    source.seek(2).expect("seek");
    assert_eq!(source.next_frame().expect("readable").as_ref().map(number_of), Some(2));
    source.seek(99).expect("seek");
    assert_eq!(source.next_frame().expect("its end"), None);
}

#[test]
fn pictures_of_every_kind_are_rgb() {
    let folder = folder();
    let path = at(&folder, "p.png");
    image::save_buffer(&path, &[7, 200], 2, 1, image::ColorType::L8).expect("grey");
    assert_eq!(read_picture(&path).expect("grey").rgb, [7, 7, 7, 200, 200, 200]);
    image::save_buffer(&path, &[1, 2, 3, 0], 1, 1, image::ColorType::Rgba8).expect("transparent");
    assert_eq!(read_picture(&path).expect("transparent").rgb, [0, 0, 0]);
    let sixteen: Vec<u8> = [0u16, 32_896, 65_535].iter().flat_map(|v| v.to_ne_bytes()).collect();
    image::save_buffer(&path, &sixteen, 1, 1, image::ColorType::Rgb16).expect("16 bits");
    assert_eq!(read_picture(&path).expect("16 bits").at_depth(Depth::Eight).rgb, [0, 128, 255]);
}

#[test]
fn a_bad_folder_is_refused_by_name() {
    let folder = folder();
    let open = || FolderSource::open(folder.path(), Fps::INSIDE);
    refused(FolderSource::open(&at(&folder, "absent"), Fps::INSIDE).map(drop), 3, &["absent"]);
    refused(open().map(drop), 3, &["a picture or more", "none"]);

    save(&at(&folder, "1.png"), &numbered(0, [32, 16]));
    save(&at(&folder, "2.png"), &numbered(1, [32, 18]));
    let mut source = open().expect("a folder");
    source.next_frame().expect("the first");
    refused(source.next_frame(), 3, &["2.png", "32x16", "32x18"]);

    let whole = std::fs::read(at(&folder, "1.png")).expect("bytes");
    std::fs::write(at(&folder, "2.png"), &whole[..whole.len() / 2]).expect("written");
    let mut source = open().expect("a folder");
    source.next_frame().expect("the first");
    refused(source.next_frame(), 3, &["2.png", "a whole picture"]);
}

#[test]
fn a_folder_has_its_name_only_when_it_is_whole() {
    let folder = folder();
    let out = at(&folder, "out");
    let mut sink = Box::new(FolderSink::create(&out).expect("a sink"));
    for number in 0..3 {
        sink.write(&numbered(number, [16, 8])).expect("written");
    }
    refused(sink.write(&numbered(3, [16, 10])), 3, &["000003.png", "16x8", "16x10"]);
    assert!(!out.exists(), "nothing under the final name before the end");
    sink.finish().expect("finished");
    assert_eq!(names(&out), ["000000.png", "000001.png", "000002.png"]);
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(read_picture(&out.join("000002.png")).expect("picture"), numbered(2, [16, 8]));
}

#[test]
fn a_folder_that_is_not_finished_leaves_nothing() {
    let folder = folder();
    let mut sink = FolderSink::create(&at(&folder, "out")).expect("a sink");
    sink.write(&numbered(0, [16, 8])).expect("written");
    drop(sink);
    assert_eq!(names(folder.path()), [""; 0]);

    let sink = Box::new(FolderSink::create(&at(&folder, "out")).expect("a sink"));
    refused(sink.finish(), 3, &["out", "a frame or more to write", "none"]);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let folder = folder();
    let out = at(&folder, "out");
    std::fs::create_dir(&out).expect("a folder");
    drop(FolderSink::create(&out).expect("an empty folder is taken"));
    std::fs::write(out.join("mine.txt"), "mine").expect("written");
    refused(FolderSink::create(&out).map(drop), 7, &["out", "not an empty folder"]);
    assert_eq!(names(&out), ["mine.txt"]);
    refused(FolderSink::create(&out.join("mine.txt")).map(drop), 7, &["mine.txt", "not an empty folder"]);
    refused(FolderSink::create(&out.join("mine.txt/sub")).map(drop), 7, &["cannot write"]);
    refused(FolderSink::create(Path::new("/")).map(drop), 2, &["--out", "a file or folder name"]);
}

#[test]
fn a_folder_goes_on_where_it_stopped() {
    let folder = folder();
    let (out, partial) = (at(&folder, "out"), at(&folder, "partial"));
    let mut sink = FolderSink::resume(&out, &partial, 0).expect("a sink");
    for number in 0..5 {
        sink.write(&numbered(number, [16, 8])).expect("written");
    }
    drop(sink);
    assert_eq!(names(&partial).len(), 5, "kept for the next run");
    refused(FolderSink::resume(&out, &partial, 7).map(drop), 3, &["7 finished frames", "000005.png"]);
    let mut sink = Box::new(FolderSink::resume(&out, &partial, 2).expect("a sink"));
    sink.write(&numbered(9, [16, 8])).expect("written");
    sink.finish().expect("finished");
    let numbers: Vec<u64> =
        names(&out).iter().map(|name| number_of(&read_picture(&out.join(name)).expect("picture"))).collect();
    assert_eq!(numbers, [0, 1, 9], "frames of the longer first run are gone");
}

#[test]
fn frames_written_in_the_background_are_all_there() {
    let folder = folder();
    let out = at(&folder, "out");
    let mut sink = Box::new(BackgroundSink::new(Box::new(FolderSink::create(&out).expect("a sink"))));
    for number in 0..20 {
        sink.write(&numbered(number, [16, 8])).expect("written");
    }
    assert!(!out.exists(), "nothing under the final name before the end");
    sink.finish().expect("finished");
    let numbers: Vec<u64> =
        names(&out).iter().map(|name| number_of(&read_picture(&out.join(name)).expect("picture"))).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());

    let mut sink = BackgroundSink::new(Box::new(FolderSink::create(&at(&folder, "other")).expect("a sink")));
    sink.write(&numbered(0, [16, 8])).expect("taken");
    drop(sink);
    assert_eq!(names(folder.path()), ["out"], "dropped unfinished it leaves nothing");
}

#[test]
fn an_error_in_the_background_reaches_the_next_call() {
    let folder = folder();
    let sink = || BackgroundSink::new(Box::new(FolderSink::create(&at(&folder, "out")).expect("a sink")));
    let words = ["000001.png", "16x8", "16x10"];
    let mut early = sink();
    early.write(&numbered(0, [16, 8])).expect("taken");
    let until_it_fails = (0..100).map(|_| early.write(&numbered(1, [16, 10]))).find(Result::is_err);
    refused(until_it_fails.expect("an error well before a hundred frames wait"), 3, &words);
    refused(Box::new(early).finish(), 3, &["failed before"]);

    let mut late = Box::new(sink());
    late.write(&numbered(0, [16, 8])).expect("taken");
    late.write(&numbered(1, [16, 10])).expect("taken");
    refused(late.finish(), 3, &words);
    assert_eq!(names(folder.path()), [""; 0]);
}
