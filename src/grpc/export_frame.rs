//! One encoded `ExportUserDataResponse`. It stands in for the generated type in the server, and is never decoded.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, skip_field},
};

use crate::domain::secret::shows_nothing;

/// The bytes of one `ExportUserDataResponse`.
#[derive(Clone, Default)]
pub struct ExportFrame(pub Bytes);

shows_nothing!(ExportFrame);

impl prost::Message for ExportFrame {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(&mut self, tag: u32, wire_type: WireType, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
