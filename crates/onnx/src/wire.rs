//! The wire format of protocol buffers: fields with a number and one of four kinds of value.
//!
//! Source of the format: <https://protobuf.dev/programming-guides/encoding/>.

use std::io;

/// The value of a field. Text and messages are slices of the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("a field has a number instead of text or a message".to_owned()),
        }
    }

    /// Text, in which bytes that are not UTF-8 are replaced.
    pub(crate) fn text(self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    pub(crate) fn int(self) -> Result<i64, String> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            _ => Err("a field has another kind of value than a whole number".to_owned()),
        }
    }

    pub(crate) fn float(self) -> Result<f32, String> {
        match self {
            Self::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err("a field has another kind of value than a floating-point number".to_owned()),
        }
    }

    /// Adds the whole numbers of a repeated field, which may be packed.
    pub(crate) fn ints(self, into: &mut Vec<i64>) -> Result<(), String> {
        match self {
            Self::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    into.push(varint(&mut bytes)? as i64);
                }
            }
            one => into.push(one.int()?),
        }
        Ok(())
    }

    /// Adds the numbers of a repeated field, with `N` bytes each, which may be packed.
    fn fixed<const N: usize>(self, into: &mut Vec<[u8; N]>) -> Result<(), String> {
        let one: &[u8] = match &self {
            Self::Bytes(bytes) => bytes,
            Self::Fixed32(bytes) if N == 4 => bytes,
            Self::Fixed64(bytes) if N == 8 => bytes,
            _ => return Err("a field has another kind of value than a list of numbers".to_owned()),
        };
        let (numbers, rest) = one.as_chunks::<N>();
        into.extend_from_slice(numbers);
        if rest.is_empty() { Ok(()) } else { Err("a list of numbers is cut short".to_owned()) }
    }

    pub(crate) fn floats(self, into: &mut Vec<f32>) -> Result<(), String> {
        let mut numbers = Vec::new();
        self.fixed::<4>(&mut numbers)?;
        into.extend(numbers.into_iter().map(f32::from_le_bytes));
        Ok(())
    }

    pub(crate) fn doubles(self, into: &mut Vec<f64>) -> Result<(), String> {
        let mut numbers = Vec::new();
        self.fixed::<8>(&mut numbers)?;
        into.extend(numbers.into_iter().map(f64::from_le_bytes));
        Ok(())
    }
}

/// A key and its value.
pub(crate) fn pair(value: Value<'_>) -> Result<(String, String), String> {
    let (mut key, mut text) = (String::new(), String::new());
    for field in Fields::of(value.bytes()?) {
        match field? {
            (1, value) => key = value.text()?,
            (2, value) => text = value.text()?,
            _ => {}
        }
    }
    Ok((key, text))
}

/// Reads the fields of a message one after the other. Nothing is copied or allocated, and a length that exceeds the message is an error.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), String> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(array(&mut self.0)?),
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).ok().filter(|&length| length <= self.0.len());
                let (bytes, rest) =
                    self.0.split_at(length.ok_or("a field is longer than its message, or the file is cut short")?);
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(array(&mut self.0)?),
            kind => return Err(format!("a field has the unknown kind {kind}")),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (first, rest) = bytes.split_first_chunk::<N>().ok_or("a number is cut short")?;
    *bytes = rest;
    Ok(*first)
}

/// Reads a whole number, which is stored in groups of seven bits, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = array(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is longer than ten bytes".to_owned())
}

/// A message that is being written. Large contents are borrowed, and are copied only into the file.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    parts: Vec<Part<'a>>,
    length: usize,
}

#[derive(Debug)]
enum Part<'a> {
    Own(Vec<u8>),
    Numbers(&'a [f32], Number),
}

/// The number format in which numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    F16,
}

impl Number {
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl<'a> Message<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Number of bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        match self.parts.last_mut() {
            Some(Part::Own(own)) => own.extend_from_slice(bytes),
            _ => self.parts.push(Part::Own(bytes.to_vec())),
        }
    }

    fn varint(&mut self, mut value: u64) {
        let (mut bytes, mut length) = ([0_u8; 10], 0);
        loop {
            bytes[length] = (value & 0x7f) as u8;
            value >>= 7;
            length += 1;
            if value == 0 {
                break;
            }
            bytes[length - 1] |= 0x80;
        }
        self.raw(&bytes[..length]);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    pub(crate) fn int(mut self, field: u64, value: i64) -> Self {
        self.key(field, 0);
        self.varint(value as u64);
        self
    }

    pub(crate) fn ints(self, field: u64, values: &[i64]) -> Self {
        values.iter().fold(self, |message, &value| message.int(field, value))
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.raw(&value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.raw(bytes);
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Adds numbers as raw bytes, which are converted when the file is written.
    pub(crate) fn numbers(mut self, field: u64, values: &'a [f32], number: Number) -> Self {
        self.key(field, 2);
        let length = values.len() * number.size();
        self.varint(length as u64);
        self.parts.push(Part::Numbers(values, number));
        self.length += length;
        self
    }

    pub(crate) fn message(mut self, field: u64, message: Message<'a>) -> Self {
        self.key(field, 2);
        self.varint(message.length as u64);
        for part in message.parts {
            match part {
                Part::Own(bytes) => self.raw(&bytes),
                numbers @ Part::Numbers(values, number) => {
                    self.length += values.len() * number.size();
                    self.parts.push(numbers);
                }
            }
        }
        self
    }

    /// Writes the message.
    pub(crate) fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        for part in &self.parts {
            match part {
                Part::Own(bytes) => out.write_all(bytes)?,
                Part::Numbers(values, number) => {
                    for chunk in values.chunks(4096) {
                        let bytes: Vec<u8> = match number {
                            Number::F32 => chunk.iter().flat_map(|value| value.to_le_bytes()).collect(),
                            Number::F16 => {
                                chunk.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
                            }
                        };
                        out.write_all(&bytes)?;
                    }
                }
            }
        }
        Ok(())
    }
}
