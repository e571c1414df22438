//! Messages of Protocol Buffers, as in ONNX: fields with a number, within each other. <https://protobuf.dev/programming-guides/encoding/>

use super::{alter_in_place, few, shuffle, take};
use crate::fuzz::mutate::{Random, alter};

/// A field; without a schema, bytes that read as a message are taken for one.
#[derive(Debug, Clone)]
struct Field {
    tag: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(u64),
    /// Four or eight bytes.
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// How deep messages are taken apart.
const DEEPEST: usize = 12;

/// A message with a few changed fields.
pub fn protobuf(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut fields = message(bytes, DEEPEST)?;
    for _ in 0..few(random) {
        let count = count(&fields);
        let (at, other) = (random.below(count), random.below(count));
        let other = nth(&mut fields, &mut { other })?.value.clone();
        alter_field(nth(&mut fields, &mut { at })?, other, random);
        if random.below(8) == 0 {
            shuffle(&mut fields, random);
        }
    }
    let mut written = Vec::new();
    write(&fields, &mut written);
    Some(written)
}

fn alter_field(field: &mut Field, other: Value, random: &mut Random) {
    match &mut field.value {
        _ if random.below(16) == 0 => field.value = other,
        Value::Number(number) => {
            *number = match random.below(5) {
                0 => number.wrapping_add(1),
                1 => number.wrapping_sub(1),
                2 => number.wrapping_mul(2),
                3 => random.below(64) as u64,
                _ => random.bits() >> random.below(64),
            };
        }
        Value::Fixed(bytes) => alter_in_place(bytes, random),
        Value::Bytes(bytes) => match (random.below(4), other) {
            (0, Value::Bytes(other)) => *bytes = other,
            (1, _) => alter(bytes, random),
            _ => alter_in_place(bytes, random),
        },
        Value::Message(fields) => shuffle(fields, random),
    }
}

fn count(fields: &[Field]) -> usize {
    let inner = |field: &Field| match &field.value {
        Value::Message(fields) => count(fields),
        _ => 0,
    };
    fields.iter().map(|field| 1 + inner(field)).sum()
}

fn nth<'f>(fields: &'f mut [Field], at: &mut usize) -> Option<&'f mut Field> {
    for field in fields {
        if *at == 0 {
            return Some(field);
        }
        *at -= 1;
        let inside = match &field.value {
            Value::Message(fields) => count(fields),
            _ => 0,
        };
        if *at < inside {
            let Value::Message(fields) = &mut field.value else { return None };
            return nth(fields, at);
        }
        *at -= inside;
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn message(mut bytes: &[u8], deep: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            _ if tag >> 3 == 0 => return None,
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Fixed(take(&mut bytes, 8)?.to_vec()),
            5 => Value::Fixed(take(&mut bytes, 4)?.to_vec()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let inner = take(&mut bytes, length)?;
                let fields = (deep > 0 && !inner.is_empty()).then(|| message(inner, deep - 1)).flatten();
                fields.map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
            }
            _ => return None,
        };
        fields.push(Field { tag, value });
    }
    Some(fields)
}

fn write_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write(fields: &[Field], bytes: &mut Vec<u8>) {
    for Field { tag, value } in fields {
        let wire = match value {
            Value::Number(_) => 0,
            Value::Fixed(bytes) if bytes.len() == 8 => 1,
            Value::Fixed(_) => 5,
            Value::Bytes(_) | Value::Message(_) => 2,
        };
        write_varint(tag & !7 | wire, bytes);
        match value {
            Value::Number(number) => write_varint(*number, bytes),
            Value::Fixed(fixed) => bytes.extend(fixed),
            Value::Bytes(inner) => {
                write_varint(inner.len() as u64, bytes);
                bytes.extend(inner);
            }
            Value::Message(fields) => {
                let mut inner = Vec::new();
                write(fields, &mut inner);
                write_varint(inner.len() as u64, bytes);
                bytes.extend(inner);
            }
        }
    }
}
