//! A restricted reader of Python pickles: it builds plain data and descriptions of tensors, and executes nothing.
//!
//! Every opcode and every global outside the lists below is refused by name. Source: CPython's `pickletools` for the
//! opcodes, PyTorch's `torch/_utils.py` and `torch/serialization.py` for what checkpoints call.

use super::Dtype;
use crate::{Problem, Result};
use std::collections::HashMap;

/// Limits against files made to exhaust memory; published checkpoints stay under a hundredth of them.
pub(super) const MAX_PICKLE_BYTES: u64 = 256 << 20;
const MAX_VALUES: usize = 8 << 20;
/// More than any global takes that is called here. Arguments are copied for each call, and one long tuple may serve many.
const MAX_ARGUMENTS: usize = 16;
/// A storage's key is a number in decimal; it is copied for each tensor.
const MAX_KEY_BYTES: usize = 64;
/// PyTorch allows 64; each tensor has its own copy.
const MAX_DIMENSIONS: usize = 16;

/// A value's place in [`Pickle::values`]. Containers refer to their items by it, so that shared and even cyclic
/// structures cost nothing.
pub(super) type Id = u32;

#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits.
    BigInt,
    Float(f64),
    Text(String),
    Bytes,
    /// A list, tuple or set.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An allowed global, `module.name`.
    Global(&'static str),
    Dtype(Dtype),
    Storage(Storage),
    Tensor(Tensor),
    /// An instance of an allowed class that is plain data; its state as set by BUILD.
    Object(Option<Id>),
}

/// A storage in the archive: `data/KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: String,
    /// None for an untyped one, which counts bytes.
    pub dtype: Option<Dtype>,
    pub elements: u64,
}

/// A view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub dtype: Dtype,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// All values of a pickle and which of them is the whole.
pub(super) struct Pickle {
    values: Vec<Value>,
    pub root: Id,
}

impl Pickle {
    pub fn parse(subject: &str, bytes: &[u8]) -> Result<Self> {
        let mut machine = Machine { bytes, ..Machine::default() };
        match machine.run() {
            Ok(root) => Ok(Self { values: machine.values, root }),
            Err(Refusal { expected, found, remedy }) => {
                let subject = format!("{subject}: byte {} of its pickle", machine.at);
                Err(Problem::new(subject, expected, found).remedy(remedy).weights())
            }
        }
    }

    pub fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// The pairs of a dict, or of an object's state.
    pub fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.value(id) {
            Value::Dict(pairs) => Some(pairs),
            Value::Object(Some(state)) => match self.value(*state) {
                Value::Dict(pairs) => Some(pairs),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` in the dict `id`; the last one, as Python's would be.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.dict(id)?.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|&(_, value)| value)
    }
}

/// What an allowed global may be used for.
#[derive(Clone, Copy)]
enum Use {
    /// Called, gives a tensor from its arguments.
    RebuildTensor,
    /// As above, with the element type among the arguments.
    RebuildTyped,
    /// Called, gives its first argument: a parameter is its tensor.
    First,
    /// Called as (function, type, arguments, state): a subclass of tensor.
    RebuildFromType,
    /// Called, gives a new dict.
    NewDict,
    /// Called, gives its first argument itself, or a new list: whether the items are shared makes no difference here.
    NewSequence,
    /// Called, gives a data object.
    NewObject,
    /// Names the element type of a storage; None for an untyped one.
    StorageType(Option<Dtype>),
    Type(Dtype),
    /// A name that is only passed along.
    Inert,
}

fn allowed(global: &str) -> Option<(&'static str, Use)> {
    const GLOBALS: &[(&str, Use)] = &[
        ("collections.OrderedDict", Use::NewDict),
        ("collections.defaultdict", Use::NewDict),
        ("builtins.dict", Use::NewDict),
        ("__builtin__.dict", Use::NewDict),
        ("builtins.list", Use::NewSequence),
        ("builtins.tuple", Use::NewSequence),
        ("builtins.set", Use::NewSequence),
        ("builtins.frozenset", Use::NewSequence),
        ("__builtin__.set", Use::NewSequence),
        ("__builtin__.list", Use::NewSequence),
        ("builtins.int", Use::Inert),
        ("builtins.float", Use::Inert),
        ("builtins.str", Use::Inert),
        ("builtins.bool", Use::Inert),
        ("lightning_fabric.utilities.data.AttributeDict", Use::NewDict),
        ("pytorch_lightning.utilities.parsing.AttributeDict", Use::NewDict),
        ("argparse.Namespace", Use::NewObject),
        ("torch.Size", Use::NewSequence),
        ("torch.Tensor", Use::Inert),
        ("torch.device", Use::NewObject),
        ("torch.nn.parameter.Parameter", Use::Inert),
        ("torch.nn.parameter.Buffer", Use::Inert),
        ("torch._utils._rebuild_tensor", Use::RebuildTensor),
        ("torch._utils._rebuild_tensor_v2", Use::RebuildTensor),
        ("torch._utils._rebuild_tensor_v3", Use::RebuildTyped),
        ("torch._utils._rebuild_parameter", Use::First),
        ("torch._utils._rebuild_parameter_with_state", Use::First),
        ("torch._tensor._rebuild_from_type_v2", Use::RebuildFromType),
        ("torch.storage.UntypedStorage", Use::StorageType(None)),
        ("torch.FloatStorage", Use::StorageType(Some(Dtype::F32))),
        ("torch.DoubleStorage", Use::StorageType(Some(Dtype::F64))),
        ("torch.HalfStorage", Use::StorageType(Some(Dtype::F16))),
        ("torch.BFloat16Storage", Use::StorageType(Some(Dtype::BF16))),
        ("torch.LongStorage", Use::StorageType(Some(Dtype::I64))),
        ("torch.IntStorage", Use::StorageType(Some(Dtype::I32))),
        ("torch.ShortStorage", Use::StorageType(Some(Dtype::I16))),
        ("torch.CharStorage", Use::StorageType(Some(Dtype::I8))),
        ("torch.ByteStorage", Use::StorageType(Some(Dtype::U8))),
        ("torch.BoolStorage", Use::StorageType(Some(Dtype::BOOL))),
        ("torch.float32", Use::Type(Dtype::F32)),
        ("torch.float64", Use::Type(Dtype::F64)),
        ("torch.float16", Use::Type(Dtype::F16)),
        ("torch.bfloat16", Use::Type(Dtype::BF16)),
        ("torch.int64", Use::Type(Dtype::I64)),
        ("torch.int32", Use::Type(Dtype::I32)),
        ("torch.int16", Use::Type(Dtype::I16)),
        ("torch.int8", Use::Type(Dtype::I8)),
        ("torch.uint8", Use::Type(Dtype::U8)),
        ("torch.uint16", Use::Type(Dtype::U16)),
        ("torch.uint32", Use::Type(Dtype::U32)),
        ("torch.uint64", Use::Type(Dtype::U64)),
        ("torch.bool", Use::Type(Dtype::BOOL)),
    ];
    GLOBALS.iter().copied().find(|(name, _)| *name == global)
}

/// Why a pickle is not read on.
struct Refusal {
    expected: String,
    found: String,
    remedy: &'static str,
}

const DAMAGED: &str = "the file is damaged; get it again";
const UNTRUSTED: &str =
    "nothing of it was executed; if you trust the file, load it in PyTorch and save its state dict alone";

fn damaged(expected: &str, found: impl Into<String>) -> Refusal {
    Refusal { expected: expected.to_owned(), found: found.into(), remedy: DAMAGED }
}

fn refused(expected: &str, found: impl Into<String>) -> Refusal {
    Refusal { expected: expected.to_owned(), found: found.into(), remedy: UNTRUSTED }
}

type Step<T> = Result<T, Refusal>;

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Runs to STOP; the id of what is left on the stack.
    fn run(&mut self) -> Step<Id> {
        loop {
            let [opcode] = self.take()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => match self.take()? {
                    [2..=5] => {}
                    [version] => return Err(refused("a pickle of protocol 2 to 5", version.to_string())),
                },
                0x95 => drop(self.take::<8>()?), // FRAME: its length is only a hint
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'N' => self.push(Value::None)?,
                0x88 => self.push(Value::Bool(true))?,
                0x89 => self.push(Value::Bool(false))?,
                b'J' => self.int(|m| m.take().map(i32::from_le_bytes))?,
                b'K' => self.int(|m| m.take().map(u8::from_le_bytes))?,
                b'M' => self.int(|m| m.take().map(u16::from_le_bytes))?,
                0x8A => {
                    let [length] = self.take()?;
                    self.long(length.into())?;
                }
                0x8B => {
                    let length = self.take().map(u32::from_le_bytes)?;
                    self.long(length.into())?;
                }
                b'G' => {
                    let value = self.take().map(f64::from_be_bytes)?;
                    self.push(Value::Float(value))?;
                }
                b'X' | 0x8C | 0x8D => {
                    let text = match opcode {
                        b'X' => self.counted::<4>()?,
                        0x8C => self.counted::<1>()?,
                        _ => self.counted::<8>()?,
                    };
                    let text = std::str::from_utf8(text).map_err(|_| damaged("UTF-8 text", "other bytes"))?.to_owned();
                    self.push(Value::Text(text))?;
                }
                b'T' | b'B' => self.counted::<4>().map(drop).and_then(|()| self.push(Value::Bytes))?,
                b'U' | b'C' => self.counted::<1>().map(drop).and_then(|()| self.push(Value::Bytes))?,
                0x8E | 0x96 => self.counted::<8>().map(drop).and_then(|()| self.push(Value::Bytes))?,
                b']' | b')' | 0x8F => self.push(Value::Sequence(Vec::new()))?,
                b'l' | b't' | 0x91 => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Sequence(items))?;
                }
                0x85..=0x87 => {
                    let at = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                    let items = self.stack.split_off(at.ok_or_else(|| damaged("items of a tuple", "an empty stack"))?);
                    self.push(Value::Sequence(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_to_mark()?;
                    self.extend(items)?;
                }
                b'}' => self.push(Value::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Dict(Vec::new()))?;
                    self.set_items(&items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(&items)?;
                }
                b'q' => {
                    let [slot] = self.take()?;
                    self.memoize(slot.into())?;
                }
                b'r' => {
                    let slot = self.take().map(u32::from_le_bytes)?;
                    self.memoize(slot)?;
                }
                0x94 => self.memoize(self.memo.len() as u32)?,
                b'h' => {
                    let [slot] = self.take()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = self.take().map(u32::from_le_bytes)?;
                    self.recall(slot)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.global(&module, &name)?;
                }
                b'R' | 0x81 => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    let arguments = self.arguments(arguments)?;
                    let result = self.call(function, &arguments)?;
                    self.stack.push(result);
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = self.top()?;
                    match &mut self.values[object as usize] {
                        Value::Object(own) => *own = Some(state),
                        // Attributes of a state dict or of a parameter, which say nothing about its values.
                        Value::Dict(_) | Value::Tensor(_) => {}
                        other => return Err(refused("BUILD on plain data", other.kind())),
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Value::Storage(storage))?;
                }
                other => return Err(refused("an opcode that plain data needs", opcode_name(other))),
            }
        }
    }

    fn push(&mut self, value: Value) -> Step<()> {
        if self.values.len() >= MAX_VALUES {
            return Err(refused(&format!("at most {MAX_VALUES} values"), "more"));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let popped = if self.stack.len() > floor { self.stack.pop() } else { None };
        popped.ok_or_else(|| damaged("a value on the stack", "none"))
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or_else(|| damaged("a value on the stack", "none"))
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| damaged("a MARK on the stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_text(&mut self) -> Step<String> {
        let id = self.pop()?;
        match &self.values[id as usize] {
            Value::Text(text) => Ok(text.clone()),
            other => Err(damaged("text", other.kind())),
        }
    }

    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let taken = *taken.ok_or_else(|| damaged(&format!("{N} more bytes"), "the end of the pickle"))?;
        self.at += N;
        Ok(taken)
    }

    /// The bytes behind a length of N bytes.
    fn counted<const N: usize>(&mut self) -> Step<&[u8]> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.take::<N>()?);
        let (start, length) = (self.at, u64::from_le_bytes(length));
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let Some((end, taken)) = end.and_then(|end| Some((end, self.bytes.get(start..end)?))) else {
            return Err(damaged(&format!("{length} more bytes"), format!("{}", self.bytes.len() - start)));
        };
        self.at = end;
        Ok(taken)
    }

    /// The text up to the next line feed.
    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("a line", "the end of the pickle"))?;
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn int<T: Into<i64>>(&mut self, read: impl Fn(&mut Self) -> Step<T>) -> Step<()> {
        let value = read(self)?.into();
        self.push(Value::Int(value))
    }

    /// A signed little-endian integer of `length` bytes.
    fn long(&mut self, length: u64) -> Step<()> {
        let mut value = [0; 8];
        let left = self.bytes.len() - self.at;
        let length = usize::try_from(length).ok().filter(|&length| length <= left);
        let length = length.ok_or_else(|| damaged("a long integer", "the end of the pickle"))?;
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        if length > value.len() {
            return self.push(Value::BigInt);
        }
        if taken.last().is_some_and(|&top| top >= 0x80) {
            value = [0xFF; 8];
        }
        value[..length].copy_from_slice(taken);
        self.push(Value::Int(i64::from_le_bytes(value)))
    }

    fn memoize(&mut self, slot: u32) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Step<()> {
        let id = self.memo.get(&slot).ok_or_else(|| damaged(&format!("memo {slot}"), "none"))?;
        self.stack.push(*id);
        Ok(())
    }

    fn extend(&mut self, items: Vec<Id>) -> Step<()> {
        let list = self.top()?;
        match &mut self.values[list as usize] {
            Value::Sequence(own) => own.extend(items),
            other => return Err(refused("a list or set to append to", other.kind())),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Step<()> {
        let dict = self.top()?;
        match &mut self.values[dict as usize] {
            Value::Dict(own) => own.extend(items.as_chunks().0.iter().map(|&[key, value]| (key, value))),
            other => return Err(refused("a dict to set items of", other.kind())),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let full = format!("{module}.{name}");
        match allowed(&full) {
            Some((_, Use::Type(dtype))) => self.push(Value::Dtype(dtype)),
            Some((name, _)) => self.push(Value::Global(name)),
            None => Err(refused("only globals that tensors need", full)),
        }
    }

    /// What the global `function` gives for `arguments`; its description, for tensors.
    fn call(&mut self, function: Id, arguments: &[Id]) -> Step<Id> {
        let name = match &self.values[function as usize] {
            Value::Global(name) => *name,
            other => return Err(refused("a call of a global", other.kind())),
        };
        let used = allowed(name).map(|(_, used)| used);
        let few = || damaged(&format!("more arguments of {name}"), arguments.len().to_string());
        let value = match used {
            Some(Use::NewDict) if arguments.is_empty() || name.ends_with("defaultdict") => Value::Dict(Vec::new()),
            Some(Use::NewSequence) => match arguments {
                [] => Value::Sequence(Vec::new()),
                [items, ..] => return self.sequence(*items).map(|_| *items),
            },
            Some(Use::NewObject) => Value::Object(None),
            Some(Use::First) => {
                let first = *arguments.first().ok_or_else(few)?;
                return match &self.values[first as usize] {
                    Value::Tensor(_) => Ok(first),
                    other => Err(damaged(&format!("a tensor for {name}"), other.kind())),
                };
            }
            Some(Use::RebuildFromType) => match arguments {
                [inner, _, inner_arguments, ..] if *inner != function => {
                    match &self.values[*inner as usize] {
                        Value::Global(inner) if *inner != name => {}
                        other => return Err(refused("a tensor's rebuilding function", other.kind())),
                    }
                    let inner_arguments = self.arguments(*inner_arguments)?;
                    return self.call(*inner, &inner_arguments);
                }
                _ => return Err(few()),
            },
            Some(Use::RebuildTensor | Use::RebuildTyped) => {
                let [storage, offset, shape, strides, rest @ ..] = arguments else { return Err(few()) };
                let storage = match &self.values[*storage as usize] {
                    Value::Storage(storage) => storage.clone(),
                    other => return Err(damaged("a storage", other.kind())),
                };
                let dtype = match (used, rest) {
                    (Some(Use::RebuildTyped), [_, _, dtype, ..]) => match &self.values[*dtype as usize] {
                        Value::Dtype(dtype) => Some(*dtype),
                        other => return Err(damaged("an element type", other.kind())),
                    },
                    _ => storage.dtype,
                };
                let dtype = dtype.ok_or_else(|| damaged("an element type", "an untyped storage"))?;
                let (shape, strides) = (self.counts(*shape)?, self.counts(*strides)?);
                if shape.len() != strides.len() {
                    return Err(damaged(&format!("{} strides", shape.len()), strides.len().to_string()));
                }
                Value::Tensor(Tensor { storage, dtype, offset: self.count(*offset)?, shape, strides })
            }
            _ => return Err(refused("a call that plain data needs", format!("{name} of {}", arguments.len()))),
        };
        self.push(value)?;
        self.pop()
    }

    fn arguments(&self, id: Id) -> Step<Vec<Id>> {
        let items = self.sequence(id)?;
        if items.len() > MAX_ARGUMENTS {
            return Err(refused(&format!("at most {MAX_ARGUMENTS} arguments"), items.len().to_string()));
        }
        Ok(items.to_vec())
    }

    /// ("storage", type, key, location, elements), as torch.save writes it.
    fn storage(&self, id: Id) -> Step<Storage> {
        let wrong = || damaged("the description of a storage", "something else");
        let [kind, storage_type, key, _, elements] = *self.sequence(id)? else { return Err(wrong()) };
        match (&self.values[kind as usize], &self.values[storage_type as usize], &self.values[key as usize]) {
            (Value::Text(kind), Value::Global(name), Value::Text(key))
                if kind == "storage" && key.len() <= MAX_KEY_BYTES =>
            {
                match allowed(name) {
                    Some((_, Use::StorageType(dtype))) => {
                        Ok(Storage { key: key.clone(), dtype, elements: self.count(elements)? })
                    }
                    _ => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        }
    }

    fn sequence(&self, id: Id) -> Step<&[Id]> {
        match &self.values[id as usize] {
            Value::Sequence(items) => Ok(items),
            other => Err(damaged("a tuple or list", other.kind())),
        }
    }

    fn count(&self, id: Id) -> Step<u64> {
        match &self.values[id as usize] {
            Value::Int(value) if *value >= 0 => Ok(*value as u64),
            Value::Int(value) => Err(damaged("a number from 0", value.to_string())),
            other => Err(damaged("a number from 0", other.kind())),
        }
    }

    /// A shape or strides.
    fn counts(&self, id: Id) -> Step<Vec<u64>> {
        let items = self.sequence(id)?;
        if items.len() > MAX_DIMENSIONS {
            return Err(damaged(&format!("at most {MAX_DIMENSIONS} dimensions"), items.len().to_string()));
        }
        items.iter().map(|&item| self.count(item)).collect()
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::BigInt => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "text",
            Value::Bytes => "bytes",
            Value::Sequence(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Global(name) => name,
            Value::Dtype(_) => "an element type",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Object(_) => "an object",
        }
    }
}

/// An opcode that is not allowed, by its name in pickletools.
fn opcode_name(opcode: u8) -> String {
    let name = match opcode {
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'g' => "GET",
        b'p' => "PUT",
        b'2' => "DUP",
        b'P' => "PERSID",
        b'i' => "INST",
        b'o' => "OBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return format!("byte 0x{opcode:02x}"),
    };
    format!("{name} (0x{opcode:02x})")
}
