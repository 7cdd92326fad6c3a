//! ImportUserData: one request after the other, each in one effect; content goes to the object store as its pieces arrive.

use super::{Error, Stores};
use crate::{
    domain::{
        category::Category,
        import::{At, ContentPiece, ImportBatch},
        report::Imported,
        subject::Subject,
        violation::{Complaint, FieldViolation},
    },
    fault::crash_at,
    repository::{BegunContent, NoContent, in_own_task},
    vault::ContentWriter,
};

const UNKNOWN_UPLOAD: Complaint = Complaint::Rule("names an upload that is not held, or deleted; import the upload itself first");
const LATE: Complaint = Complaint::Rule("was observed before the user's data was erased; an import does not bring it back");
const OUT_OF_ORDER: Complaint = Complaint::Rule("does not continue the pieces before it; send the pieces of one upload in order");
const TOO_MUCH: Complaint = Complaint::Rule("goes past the upload's `size_bytes`; correct that or send less");
const INCOMPLETE: Complaint = Complaint::Rule("begins content that was never finished; send all pieces up to the upload's `size_bytes`");

/// A running import.
pub struct Import {
    stores: Stores,
    report: Imported,
    open: Option<OpenContent>,
}

/// Content of which some pieces have arrived.
struct OpenContent {
    subject: Subject,
    upload_id: String,
    begun: BegunContent,
    writer: ContentWriter,
    /// The path of the first piece.
    path: String,
}

impl Import {
    /// Begins an import.
    pub fn new(stores: Stores) -> Self {
        Self { stores, report: Imported::default(), open: None }
    }

    /// Notes records that were not acceptable before they came here: how many, and why.
    pub fn reject(&mut self, records: u64, violations: Vec<FieldViolation>) {
        self.report.reject_all(records, violations);
    }

    /// Imports the acceptable records of one request.
    ///
    /// # Errors
    /// When a store does not answer. What earlier requests imported stays.
    pub async fn take(&mut self, subject: &Subject, batch: ImportBatch) -> Result<(), Error> {
        let imported = self.stores.repository.import(subject, &batch).await?;
        crash_at("import.after_commit");
        for category in Category::ALL {
            self.report.counts.add(category, imported.counts.of(category));
        }
        self.report.reject_all(imported.rejected, imported.rejections);
        for At { index, record } in batch.upload_contents {
            let path = format!("{}.upload_contents[{index}]", batch.path);
            self.take_content(subject, batch.observed_epoch, path, record).await?;
        }
        Ok(())
    }

    /// How many bytes of content that is not finished may be in memory.
    pub fn in_memory(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.writer.in_memory())
    }

    /// Ends the import: what became of its records.
    pub async fn finish(mut self) -> Imported {
        self.abandon().await;
        self.report
    }

    async fn take_content(
        &mut self,
        subject: &Subject,
        observed_epoch: Option<i64>,
        path: String,
        piece: ContentPiece,
    ) -> Result<(), Error> {
        let continues = self.open.as_ref().is_some_and(|open| open.upload_id == piece.upload_id && open.subject == *subject);
        if !continues {
            self.abandon().await;
            if piece.offset != 0 {
                self.report.reject(FieldViolation::new(format!("{path}.offset"), OUT_OF_ORDER), 1);
                return Ok(());
            }
            let begun = match self.stores.repository.begin_content(subject, &piece.upload_id, observed_epoch).await? {
                Ok(begun) => begun,
                Err(reason) => {
                    let complaint = match reason {
                        NoContent::UnknownUpload => UNKNOWN_UPLOAD,
                        NoContent::ObservedBefore => LATE,
                    };
                    self.report.reject(FieldViolation::new(format!("{path}.upload_id"), complaint), 1);
                    return Ok(());
                }
            };
            let writer = self.stores.vault.write(subject, &piece.upload_id, begun.size_bytes.unsigned_abs());
            self.open = Some(OpenContent { subject: subject.clone(), upload_id: piece.upload_id, begun, writer, path: path.clone() });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let size = open.begun.size_bytes.unsigned_abs();
        let end = piece.offset.saturating_add(piece.data.len() as u64);
        let complaint = match () {
            () if piece.offset != open.writer.written() => Some(("offset", OUT_OF_ORDER)),
            () if end > size => Some(("data", TOO_MUCH)),
            () => None,
        };
        if let Some((field, complaint)) = complaint {
            self.report.reject(FieldViolation::new(format!("{path}.{field}"), complaint), 1);
            if let Some(open) = self.open.take() {
                open.writer.abort().await;
            }
            return Ok(());
        }
        open.writer.put(piece.data).await?;
        if end == size
            && let Some(complete) = self.open.take()
        {
            self.complete(complete).await?;
        }
        Ok(())
    }

    /// Makes content appear, unless its upload was deleted while the pieces arrived.
    async fn complete(&mut self, content: OpenContent) -> Result<(), Error> {
        // A task of its own: a caller that leaves now must not leave content behind that nobody checked.
        let repository = self.stores.repository.clone();
        let path = content.path.clone();
        let finish = in_own_task(async move {
            crash_at("content.before_finish");
            let written = content.writer.finish().await;
            crash_at("content.after_finish");
            let may_stay = repository.end_content(&content.subject, &content.upload_id, content.begun, written.is_ok()).await?;
            match written {
                Ok(written) if !may_stay => written.take_back().await?,
                // An erasure removes what is unfinished, too.
                Err(error) if may_stay => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
            Ok::<bool, Error>(may_stay)
        });
        if !finish.await? {
            self.report.reject(FieldViolation::new(format!("{path}.upload_id"), UNKNOWN_UPLOAD), 1);
        }
        Ok(())
    }

    /// Gives up content whose pieces stopped before it was complete.
    async fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            open.writer.abort().await;
            self.report.reject(FieldViolation::new(format!("{}.data", open.path), INCOMPLETE), 1);
        }
    }
}
