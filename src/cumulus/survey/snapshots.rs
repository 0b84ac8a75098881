//! The snapshots: which are kept, and which is the newest.

use rusqlite::Connection;

use super::Gathered;
use crate::cumulus::decision::Newest;
use crate::cumulus::policy::{CleaningRefusal, Era, Mode, Options, RunPart, SnapshotFigures, retain};
use crate::cumulus::value;

impl Gathered {
    pub(super) fn read_snapshots(&mut self, conn: &Connection, options: &Options) -> rusqlite::Result<u64> {
        let schema = &self.schema;
        let timestamp = value::timestamp(Mode::Careful, schema.column("snapshots", "timestamp"));
        let timestamp = if self.mode == Mode::Compat { schema.column("snapshots", "timestamp") } else { &timestamp };
        let sql = format!(
            "SELECT snapshotid, {}, {timestamp}, {}{} FROM snapshots ORDER BY snapshotid",
            schema.column("snapshots", "scheme"),
            schema.column("snapshots", "intent"),
            schema.others("snapshots", &["snapshotid", "scheme", "intent"]),
        );
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut snapshots = Vec::new();
        while let Some(row) = rows.next()? {
            let days = |cell| value::moment(cell).age_days(0.0).map(|minus| -minus);
            let scheme = value::text(row.get_ref(1)?);
            self.kept_text.take(scheme.as_deref())?;
            snapshots.push(SnapshotFigures {
                id: row.get(0)?,
                scheme,
                timestamp: days(row.get_ref(2)?),
                intent: days(row.get_ref(3)?),
            });
        }
        let exists = format!(
            "SELECT EXISTS (SELECT 1 FROM segments) OR EXISTS (SELECT 1 FROM block_index) OR EXISTS (SELECT 1 FROM {})",
            schema.usage
        );
        let holds_data: bool = conn.query_row(&exists, [], |row| row.get(0))?;
        self.decision.newest = Newest::read(conn)?;
        let refused = match options.fault() {
            Some(why) => Some(CleaningRefusal::Options(why)),
            None => self.retain(&snapshots, holds_data, options),
        };
        self.plan.refused = refused;
        Ok(snapshots.len() as u64)
    }

    fn retain(
        &mut self,
        snapshots: &[SnapshotFigures],
        holds_data: bool,
        options: &Options,
    ) -> Option<CleaningRefusal> {
        let era = self.schema.era;
        let mut retention = match retain(era, snapshots, holds_data, options) {
            Ok(retention) => retention,
            Err(why) => return Some(why),
        };
        // Era B goes through the schemes: without one, nothing was collected.
        self.decision.collects = matches!(options.part, RunPart::Whole | RunPart::GarbageCollection)
            && !(era == Era::B && snapshots.is_empty());
        if !self.decision.collects {
            retention.kept.append(&mut retention.dropped);
            retention.kept.sort_unstable();
        }
        self.removed.snapshots = retention.dropped.len() as u64;
        self.decision.retention = retention;
        None
    }
}
