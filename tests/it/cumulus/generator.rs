//! Makes large local databases: a port of the generator `tests/data/cumulus/make_localdb.py`, row for row, with
//! Python's random numbers (MT19937).
//!
//! That it is a port is seen from the digests of the rows that the original has written.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, Transaction};

/// Python's generator of random numbers.
struct Random {
    state: [u32; 624],
    next: usize,
}

impl Random {
    fn seeded(seed: u32) -> Random {
        let mut mt = [0u32; 624];
        mt[0] = 19_650_218;
        for i in 1..624 {
            mt[i] = (mt[i - 1] ^ (mt[i - 1] >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mut mix = |mt: &mut [u32; 624], factor: u32, add: &dyn Fn(u32, usize) -> u32| {
            mt[i] = add(mt[i] ^ (mt[i - 1] ^ (mt[i - 1] >> 30)).wrapping_mul(factor), i);
            i += 1;
            if i == 624 {
                mt[0] = mt[623];
                i = 1;
            }
        };
        for _ in 0..624 {
            // The key is the seed alone, so its place is always 0.
            mix(&mut mt, 1_664_525, &|x, _| x.wrapping_add(seed));
        }
        for _ in 0..623 {
            mix(&mut mt, 1_566_083_941, &|x, i| x.wrapping_sub(i as u32));
        }
        mt[0] = 0x8000_0000;
        Random { state: mt, next: 624 }
    }

    fn bits(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7fff_ffff);
                self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ (if y & 1 == 1 { 0x9908_b0df } else { 0 });
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// From 0 to below 1.
    fn real(&mut self) -> f64 {
        let (a, b) = (self.bits() >> 5, self.bits() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / 9_007_199_254_740_992.0
    }
}

/// A number of 160 bits, the lowest first.
type Wide = [u32; 5];

fn times(base: &Wide, factor: u64) -> Wide {
    let mut carry = 0u128;
    base.map(|limb| {
        carry += u128::from(limb) * u128::from(factor);
        let low = carry as u32;
        carry >>= 32;
        low
    })
}

fn hex(wide: &Wide) -> String {
    wide.iter().rev().map(|limb| format!("{limb:08x}")).collect()
}

struct SegmentTraits {
    mean_life: f64,
    dead: bool,
    expired: bool,
    orphan: bool,
    birth: f64,
}

struct Generator {
    era: String,
    per_segment: usize,
    snapshots: Vec<(i64, usize, f64)>,
    schemes: usize,
    null_timestamps: f64,
    random: Random,
    base: Wide,
    segments: Vec<SegmentTraits>,
    death: Vec<f64>,
    sizes: Vec<i64>,
}

const BLOCKS: &str = "CREATE TABLE block_index (blockid INTEGER PRIMARY KEY, segmentid INTEGER NOT NULL,
    object TEXT NOT NULL, checksum TEXT, size INTEGER, timestamp TIMETYPE, expired INTEGER);";
const INDEXES: &str = "CREATE INDEX block_content_index ON block_index(checksum);
    CREATE UNIQUE INDEX block_name_index ON block_index(segmentid, object);";
const A: &str = "
    CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT, timestamp REAL);
    CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, path TEXT, checksum TEXT);
    CREATE TABLE snapshot_contents (blockid INTEGER, snapshotid INTEGER);";
const C: &str = "
    CREATE TABLE schema_version (version TEXT, major INTEGER, minor INTEGER);
    INSERT INTO schema_version VALUES ('0.11', 0, 11);
    CREATE TABLE snapshots (snapshotid INTEGER PRIMARY KEY, name TEXT NOT NULL, scheme TEXT NOT NULL, timestamp DATETIME);
    CREATE TABLE segments (segmentid INTEGER PRIMARY KEY, segment TEXT UNIQUE NOT NULL, timestamp DATETIME, path TEXT,
        checksum TEXT, data_size INTEGER, disk_size INTEGER, type TEXT);
    CREATE TABLE subblock_signatures (blockid INTEGER PRIMARY KEY, algorithm TEXT NOT NULL, signatures BLOB NOT NULL);
    CREATE TABLE segment_utilization (snapshotid INTEGER NOT NULL, segmentid INTEGER NOT NULL,
        bytes_referenced INTEGER NOT NULL);
    CREATE UNIQUE INDEX segment_utilization_index ON segment_utilization(snapshotid, segmentid);";

/// Writes a database of era A or C as the original does with these arguments.
pub fn make(path: &Path, arguments: &str) {
    let mut conn = Connection::open(path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -100000").unwrap();
    let mut generator = Generator::new(arguments);
    let era_a = generator.era == "A";
    let tx = conn.transaction().unwrap();
    let own = if era_a { A } else { C };
    tx.execute_batch(&BLOCKS.replace("TIMETYPE", if era_a { "REAL" } else { "DATETIME" })).unwrap();
    tx.execute_batch(own).unwrap();
    generator.write_snapshots(&tx);
    generator.write_blocks(&tx);
    if era_a {
        generator.write_contents(&tx);
    } else {
        generator.write_utilization(&tx);
    }
    tx.execute_batch(INDEXES).unwrap();
    if era_a {
        tx.execute_batch("CREATE UNIQUE INDEX snapshot_contents_unique ON snapshot_contents(blockid, snapshotid)")
            .unwrap();
    }
    tx.commit().unwrap();
    conn.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
}

/// The id of the row at this place.
fn id(place: usize) -> i64 {
    place as i64 + 1
}

fn name(segment: usize) -> String {
    format!("{:08x}-0000-4000-8000-{segment:012x}", (segment as u64 * 2_654_435_761) & 0xffff_ffff)
}

impl Generator {
    fn new(arguments: &str) -> Generator {
        const END: f64 = 2_454_400.25;
        const SPAN: f64 = 365.0;
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let given: HashMap<&str, &str> = words.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let number = |key: &str, default: f64| given.get(key).map_or(default, |text| text.parse().unwrap());
        let count = |key: &str, default: usize| number(key, default as f64) as usize;
        let (segments, snapshots, schemes) =
            (count("--segments", 1000), count("--snapshots", 3), count("--schemes", 1));
        let dead_below = segments as f64 * 0.9;
        let mut random = Random::seeded(count("--seed", 1) as u32);
        let of_segment = |s: usize| SegmentTraits {
            mean_life: 5.0 + 90.0 * random.real(),
            dead: random.real() < number("--dead", 0.05) && (s as f64) < dead_below,
            expired: random.real() < number("--expired", 0.0),
            orphan: random.real() < number("--orphans", 0.0),
            birth: (END - SPAN) + SPAN * (s + 1) as f64 / (segments + 1) as f64,
        };
        let segments = (0..segments).map(of_segment).collect();
        let mut base = [(); 5].map(|()| random.bits());
        base[0] |= 1;
        let snapshot = |i: usize| (i as i64 + 1, i % schemes, END - (snapshots - 1 - i) as f64);
        Generator {
            era: given["--era"].to_owned(),
            per_segment: count("--objects-per-segment", 100),
            snapshots: (0..snapshots).map(snapshot).collect(),
            schemes,
            null_timestamps: number("--null-timestamps", 0.0),
            random,
            base,
            segments,
            death: Vec::new(),
            sizes: Vec::new(),
        }
    }

    fn write_snapshots(&self, tx: &Transaction<'_>) {
        for (id, scheme, time) in &self.snapshots {
            let scheme = if self.schemes > 1 { format!("scheme{scheme}") } else { "home".to_owned() };
            let row = (id, format!("S{id:08}"), scheme, time);
            tx.execute("INSERT INTO snapshots VALUES (?1, ?2, ?3, ?4)", row).unwrap();
        }
    }

    fn write_blocks(&mut self, tx: &Transaction<'_>) {
        let mut insert = tx.prepare("INSERT INTO block_index VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)").unwrap();
        for (s, of) in self.segments.iter().enumerate() {
            let expired = of.expired.then_some(1 + s as i64 % 3);
            for object in 0..self.per_segment {
                let r = self.random.real();
                let size = (100.0 * 10000f64.powf(r * r)) as i64;
                let death = if of.dead {
                    0.0
                } else {
                    match self.random.real() {
                        q if q < 0.45 => 1e9,
                        q => of.birth - of.mean_life * (1.0000001 - (q - 0.45) / 0.55).ln(),
                    }
                };
                self.death.push(death);
                self.sizes.push(size);
                let block = self.death.len() as i64;
                let time = of.birth + object as f64 * 1e-6;
                let unknown = self.null_timestamps > 0.0 && self.random.real() < self.null_timestamps;
                let checksum = format!("sha1={}", hex(&times(&self.base, block as u64)));
                let time = (!unknown).then_some(time);
                insert.execute((block, id(s), format!("{object:08x}"), checksum, size, time, expired)).unwrap();
            }
        }
    }

    /// What a snapshot may use: segments of its scheme that were there, each with the places of its blocks.
    fn seen_by(&self, (_, scheme, time): (i64, usize, f64)) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let blocks = |s: usize| s * self.per_segment..(s + 1) * self.per_segment;
        let there = self.segments.iter().take_while(move |of| of.birth <= time).count();
        (0..there).filter(move |s| self.schemes == 1 || s % self.schemes == scheme).map(move |s| (s, blocks(s)))
    }

    fn write_contents(&self, tx: &Transaction<'_>) {
        let mut insert = tx.prepare("INSERT INTO snapshot_contents VALUES (?1, ?2)").unwrap();
        for snapshot in &self.snapshots {
            for block in self.seen_by(*snapshot).flat_map(|(_, blocks)| blocks).filter(|b| self.death[*b] > snapshot.2)
            {
                insert.execute((id(block), snapshot.0)).unwrap();
            }
        }
        let mut insert = tx.prepare("INSERT INTO segments VALUES (?1, ?2, ?2 || '.tar', ?3)").unwrap();
        for (s, _) in self.segments.iter().enumerate().filter(|(_, of)| !of.orphan) {
            let checksum = format!("sha1={}", hex(&times(&self.base, s as u64 + 1)));
            insert.execute((id(s), name(s + 1), checksum)).unwrap();
        }
    }

    fn write_utilization(&self, tx: &Transaction<'_>) {
        let mut insert = tx.prepare("INSERT INTO segment_utilization VALUES (?1, ?2, ?3)").unwrap();
        for snapshot in &self.snapshots {
            for (s, blocks) in self.seen_by(*snapshot) {
                let used: i64 = blocks.filter(|b| self.death[*b] > snapshot.2).map(|b| self.sizes[b]).sum();
                if used > 0 {
                    insert.execute((snapshot.0, id(s), used)).unwrap();
                }
            }
        }
        let sql = "INSERT INTO segments VALUES (?1, ?2, ?3, 'segments0/' || ?2 || '.tar', ?4, ?5, ?6, ?7)";
        let mut insert = tx.prepare(sql).unwrap();
        for (s, of) in self.segments.iter().enumerate().filter(|(_, of)| !of.orphan) {
            let bytes: i64 = self.sizes[s * self.per_segment..(s + 1) * self.per_segment].iter().sum();
            let checksum = format!("sha224={:0>56}", hex(&times(&self.base, s as u64 + 1)));
            let kind = if s % 17 == 16 { "metadata" } else { "data" };
            insert.execute((id(s), name(s + 1), of.birth, checksum, bytes, bytes / 2, kind)).unwrap();
        }
        const EVERY: usize = 10;
        const BYTES: usize = 30;
        let mut insert = tx.prepare("INSERT INTO subblock_signatures VALUES (?1, 'lbfs-4096/sha224', ?2)").unwrap();
        for block in (1..=self.death.len()).step_by(EVERY) {
            let wide = times(&self.base, block as u64);
            let mut one: Vec<u8> = wide.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
            one.resize(BYTES, 0);
            insert.execute((block as i64, one.repeat(1 + block / EVERY % 4))).unwrap();
        }
    }
}
