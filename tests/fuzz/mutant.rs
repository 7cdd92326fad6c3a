//! Inputs made of good ones: an input at random is refused at its first byte, one that was changed in a few places goes deep.

use std::{fs, path::Path};

/// Changes: which, where, and with what.
pub(crate) type Changes = Vec<(u8, u16, u8)>;

/// Of a long list only so many are made: more, and nothing is left of the seed.
const MOST_CHANGES: usize = 8;

/// Lengths and numbers at which readers go wrong.
const NUMBERS: [&[u8]; 8] = [
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x00\x00\x00\x00",
    b"18446744073709551616",
    b"-1",
    b"1e999999999",
    b"[[[[[[[[[[[[[[[[",
];

/// The seed of this number, changed.
pub(crate) fn of(seeds: &[Vec<u8>], seed: u8, changes: &Changes) -> Vec<u8> {
    let mut input = seeds[usize::from(seed) % seeds.len()].clone();
    for (kind, place, with) in changes.iter().take(MOST_CHANGES) {
        let at = usize::from(*place) % (input.len() + 1);
        let end = (at + usize::from(*with)).min(input.len());
        match kind % 8 {
            0 if at < input.len() => input[at] ^= 1 << (with % 8),
            1 if at < input.len() => input[at] = *with,
            2 => input.insert(at, *with),
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => {
                let piece = input[at..end].to_vec();
                for _ in 0..=with % 16 {
                    input.splice(at..at, piece.iter().copied());
                }
            }
            6 => drop(input.splice(at..at, NUMBERS[usize::from(with % 8)].iter().copied())),
            _ => {
                let other = &seeds[usize::from(*with) % seeds.len()];
                let from = usize::from(*place) % (other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
        }
    }
    input
}

/// The seeds of a folder, in the order of their names: each file is one.
pub(crate) fn files(folder: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The seeds of a file: each line is one.
pub(crate) fn lines(file: &str) -> Vec<Vec<u8>> {
    fs::read_to_string(path(file)).unwrap().lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name)
}
