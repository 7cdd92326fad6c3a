//! How the servers decode requests. An element of a list is two bytes on the wire if it is empty, and hundreds once it is decoded: so those
//! of an import, whose requests are large, are counted before any of them is made. prost's own functions read the wire, so that both go the
//! same way through bytes that are wrong.

use std::{any::TypeId, collections::HashMap, marker::PhantomData, sync::LazyLock};

use bytes::Buf;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{FileDescriptorSet, field_descriptor_proto::Label};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::{proto, status};
use crate::domain::limits::MAX_ELEMENTS;

/// prost's codec, with a bound on what an import holds.
pub(super) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(ProstDecoder::default())
    }
}

/// See [`BoundedCodec`].
pub(super) struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic keeps a message in one piece.
        if TypeId::of::<U>() == TypeId::of::<proto::ImportUserDataRequest>() && holds_too_much(message.chunk()) {
            return Err(status::too_many_elements());
        }
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// A field that is a list, or a message, or both.
struct Field {
    is_list: bool,
    /// Its place in [`MESSAGES`].
    message: Option<usize>,
}

/// The fields of the contract's messages, each at its number; that of an import first.
static MESSAGES: LazyLock<Vec<Vec<Option<Field>>>> = LazyLock::new(|| {
    // What is compiled in can be read.
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap_or_default().file;
    let named =
        files.iter().flat_map(|file| file.message_type.iter().map(|message| (format!(".{}.{}", file.package(), message.name()), message)));
    let mut messages: Vec<_> = named.collect();
    messages.sort_by_key(|(_, message)| message.name() != "ImportUserDataRequest");
    let places: HashMap<_, _> = messages.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    let fields = |(_, message): &(String, &prost_types::DescriptorProto)| {
        let mut fields = Vec::new();
        for field in &message.field {
            let place = usize::try_from(field.number()).unwrap_or_default();
            fields.resize_with(fields.len().max(place + 1), || None);
            fields[place] = Some(Field { is_list: field.label() == Label::Repeated, message: places.get(field.type_name()).copied() });
        }
        fields
    };
    messages.iter().map(fields).collect()
});

/// Why the count has ended early.
enum Stop {
    TooMuch,
    /// prost will say why.
    Unreadable,
}

impl From<DecodeError> for Stop {
    fn from(_: DecodeError) -> Self {
        Self::Unreadable
    }
}

/// Whether an import's request has more elements than it may, as far as it can be read.
pub(super) fn holds_too_much(mut request: &[u8]) -> bool {
    let mut left = MAX_ELEMENTS;
    // None is shorter.
    request.len() / 2 > left && matches!(count(&mut request, 0, 0, &mut left), Err(Stop::TooMuch))
}

/// Counts the elements of a message that ends where so many bytes are left; as prost does, it looks only then whether that is where the last
/// field ends. It goes no deeper than the contract, in which no message holds itself.
fn count(bytes: &mut &[u8], end: usize, message: usize, left: &mut usize) -> Result<(), Stop> {
    while bytes.len() > end {
        let (number, wire_type) = decode_key(bytes)?;
        let field = MESSAGES.get(message).and_then(|fields| fields.get(number as usize)?.as_ref());
        let Some(field) = field.filter(|_| wire_type == WireType::LengthDelimited) else {
            skip_field(wire_type, number, bytes, DecodeContext::default())?;
            continue;
        };
        if field.is_list {
            *left = left.checked_sub(1).ok_or(Stop::TooMuch)?;
        }
        let Some(nested) = field.message else {
            skip_field(wire_type, number, bytes, DecodeContext::default())?;
            continue;
        };
        let length = usize::try_from(decode_varint(bytes)?).map_err(|_| Stop::Unreadable)?;
        let end = bytes.len().checked_sub(length).ok_or(Stop::Unreadable)?;
        count(bytes, end, nested, left)?;
    }
    if bytes.len() == end { Ok(()) } else { Err(Stop::Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{Conversation, ImportUserDataRequest, Memory, Message as Said, MessagePart, TurnContext};

    fn elements(request: &[u8]) -> usize {
        let mut left = usize::MAX;
        let _ = count(&mut &*request, 0, 0, &mut left);
        usize::MAX - left
    }

    #[test]
    fn elements_are_counted_wherever_they_are_and_nothing_else_is() {
        let values = (0..5).map(|number| (number.to_string(), String::new())).collect();
        let message = Said {
            id: "m".into(),
            parts: vec![MessagePart::default(); 3],
            turn_context: Some(TurnContext { values }),
            ..Default::default()
        };
        // Looks like a thousand elements, and is a text.
        let text = "\u{22}\0".repeat(1_000);
        let memory = Memory { text, tags: vec![String::new(); 7], ..Default::default() };
        let request = ImportUserDataRequest {
            user_token: "anna".into(),
            conversations: vec![Conversation { messages: vec![message; 2], ..Default::default() }],
            memories: vec![memory],
            observed_epoch: Some(1),
            ..Default::default()
        };
        assert_eq!(elements(&request.encode_to_vec()), 1 + 2 + 2 * (3 + 5) + 1 + 7);
    }

    #[test]
    fn a_request_may_hold_so_many_and_no_more() {
        let conversation = |messages| Conversation { messages: vec![Said::default(); messages], ..Default::default() };
        let request = |messages| ImportUserDataRequest { conversations: vec![conversation(messages)], ..Default::default() };
        assert!(!holds_too_much(&request(MAX_ELEMENTS - 1).encode_to_vec()));
        assert!(holds_too_much(&request(MAX_ELEMENTS).encode_to_vec()));
    }

    #[test]
    fn elements_that_prost_makes_before_it_finds_a_mistake_are_counted() {
        // A conversation of three bytes, with a message that ends elsewhere: prost reads that first.
        let parts = [0x2a, 0].repeat(1_000);
        let message = [vec![0x7a, 0xd0, 0x0f], parts].concat();
        let request = [vec![0x12, 3], message].concat();
        assert!(ImportUserDataRequest::decode(request.as_slice()).is_err());
        assert_eq!(elements(&request), 2 + 1_000);
    }

    #[test]
    fn no_message_of_the_contract_holds_itself() {
        fn look(message: usize, above: &[usize]) {
            assert!(!above.contains(&message));
            let above = [above, &[message]].concat();
            MESSAGES[message].iter().flatten().filter_map(|field| field.message).for_each(|nested| look(nested, &above));
        }
        assert!(MESSAGES.len() > 20);
        (0..MESSAGES.len()).for_each(|message| look(message, &[]));
    }
}
