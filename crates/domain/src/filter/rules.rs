//! What a filter may say: known names and functions, logical operators over what can be true or false, bounded
//! nesting, and no walk over a list within or behind another.

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue, SelectExpr, operators};
use cel::parser::Expression;

use super::facts::{MEMBERS, priced_event};
use super::{InvalidFilter, LANGUAGE, MAX_DEPTH};

/// The functions that can give true or false.
const PREDICATES: [&str; 5] = ["contains", "startsWith", "endsWith", "bool", "dyn"];

/// The functions that give anything else.
const OTHERS: [&str; 19] = [
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "type",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

/// The operators that give a number, a text or a list.
const ARITHMETIC: [&str; 6] = [
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
];

/// Holds `expression` to the rules, and writes the price of each look at the event into it.
pub(super) fn apply(expression: &mut Expression) -> Result<(), InvalidFilter> {
    let mut survey = Survey::default();
    if survey.is_never_boolean(expression) {
        return Err(InvalidFilter::NotBoolean);
    }
    survey.visit(expression, Place { depth: 1, turns: 1, copies: 0 })
}

/// Where in an expression a part of it stands.
#[derive(Clone, Copy)]
struct Place {
    depth: u16,
    /// The steps that are made for each element, of a list that a macro walks over.
    turns: u64,
    /// How often a value is copied, in sums and in lists that are written out.
    copies: u64,
}

impl Place {
    fn within(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn copied(self, copies: u64) -> Self {
        Self { copies: self.copies + copies, ..self.within() }
    }

    const fn steps(self) -> u64 {
        1 + self.copies
    }
}

/// What a copy of a value costs more than a look at it.
const COPY: u64 = 4;

/// A walk over an expression.
#[derive(Default)]
struct Survey {
    steps: u64,
    /// The name that a macro gives to what it walks over, while within it.
    item: Option<String>,
    walking: bool,
}

impl Survey {
    fn visit(&mut self, expression: &mut Expression, place: Place) -> Result<(), InvalidFilter> {
        if place.depth > MAX_DEPTH {
            return Err(InvalidFilter::TooNested);
        }
        self.steps += place.steps();
        if self.is_event(expression) {
            expression.expr = Expr::Ident(priced_event(place.turns * place.steps()));
            return Ok(());
        }
        match &mut expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.know_name(name),
            Expr::Select(select) => {
                self.know_member(select)?;
                // Whether a member is there is told by its name alone.
                let turns = if select.test && self.is_path(&select.operand) { 0 } else { place.turns };
                self.visit(&mut select.operand, Place { turns, ..place.within() })
            }
            Expr::Call(call) => {
                know_function(&call.func_name)?;
                self.want_booleans(&call.func_name, &call.args)?;
                let copies = u64::from(call.func_name == operators::ADD);
                self.visit_all(call.target.as_deref_mut().into_iter().chain(&mut call.args), place.copied(copies))
            }
            Expr::List(list) => self.visit_all(&mut list.elements, place.copied(COPY)),
            Expr::Map(map) => self.visit_all(map.entries.iter_mut().flat_map(entry), place.copied(COPY)),
            Expr::Struct(object) => Err(InvalidFilter::UnknownVariable(object.type_name.clone())),
            Expr::Comprehension(walk) => self.visit_walk(walk, place.within()),
        }
    }

    fn visit_all<'e>(
        &mut self,
        expressions: impl IntoIterator<Item = &'e mut Expression>,
        place: Place,
    ) -> Result<(), InvalidFilter> {
        expressions.into_iter().try_for_each(|expression| self.visit(expression, place))
    }

    /// A macro that walks over a list; one behind another could double its list at each step.
    fn visit_walk(&mut self, walk: &mut ComprehensionExpr, place: Place) -> Result<(), InvalidFilter> {
        if std::mem::replace(&mut self.walking, true) {
            return Err(InvalidFilter::TooNested);
        }
        let before = self.steps;
        self.item = Some(walk.iter_var.clone());
        self.visit_all([&mut walk.loop_cond, &mut walk.loop_step, &mut walk.result], place)?;
        self.item = None;
        let turns = self.steps - before;
        self.visit_all([&mut walk.iter_range, &mut walk.accu_init], Place { turns, ..place })?;
        self.walking = false;
        Ok(())
    }

    /// What macros name for themselves begins with `@`, which nobody can write.
    fn know_name(&self, name: &str) -> Result<(), InvalidFilter> {
        let plain = name.trim_start_matches('.');
        let known =
            name.starts_with('@') || self.item.as_deref() == Some(name) || LANGUAGE.types().find_type(plain).is_some();
        if known { Ok(()) } else { Err(InvalidFilter::UnknownVariable(plain.to_owned())) }
    }

    fn know_member(&self, select: &SelectExpr) -> Result<(), InvalidFilter> {
        if self.is_event(&select.operand) && !MEMBERS.contains(&select.field.as_str()) {
            return Err(InvalidFilter::UnknownVariable(format!("event.{}", select.field)));
        }
        Ok(())
    }

    fn is_event(&self, expression: &Expression) -> bool {
        let hidden = self.item.as_deref() == Some("event");
        matches!(&expression.expr, Expr::Ident(name) if name == ".event" || name == "event" && !hidden)
    }

    /// Whether `expression` is `event` or a member of a member of it, however deep.
    fn is_path(&self, expression: &Expression) -> bool {
        match &expression.expr {
            Expr::Select(select) => !select.test && self.is_path(&select.operand),
            _ => self.is_event(expression),
        }
    }

    fn want_booleans(&self, operator: &str, operands: &[Expression]) -> Result<(), InvalidFilter> {
        let wanted = match operator {
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => operands.len(),
            operators::CONDITIONAL => 1,
            _ => 0,
        };
        let never = operands.iter().take(wanted).any(|operand| self.is_never_boolean(operand));
        if never { Err(InvalidFilter::NotBoolean) } else { Ok(()) }
    }

    /// Whether `expression` can neither be true nor false, whatever the event.
    fn is_never_boolean(&self, expression: &Expression) -> bool {
        match &expression.expr {
            Expr::Literal(LiteralValue::Boolean(_)) | Expr::Unspecified => false,
            Expr::Literal(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => true,
            Expr::Ident(_) => self.is_event(expression),
            Expr::Select(select) => !select.test && select.field != "data" && self.is_event(&select.operand),
            Expr::Comprehension(walk) => matches!(walk.accu_init.expr, Expr::List(_)),
            Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
                call.args.iter().skip(1).any(|branch| self.is_never_boolean(branch))
            }
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                ARITHMETIC.contains(&name) || OTHERS.contains(&name)
            }
        }
    }
}

/// The key and the value of a map's entry.
fn entry(entry: &mut IdedEntryExpr) -> impl Iterator<Item = &mut Expression> {
    match &mut entry.expr {
        EntryExpr::StructField(field) => [Some(&mut field.value), None].into_iter().flatten(),
        EntryExpr::MapEntry(entry) => [Some(&mut entry.key), Some(&mut entry.value)].into_iter().flatten(),
    }
}

/// The names of operators hold signs, which those of functions cannot.
fn know_function(name: &str) -> Result<(), InvalidFilter> {
    let plain = name.trim_start_matches('.');
    let written = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !written || PREDICATES.contains(&plain) || OTHERS.contains(&plain) {
        return Ok(());
    }
    Err(InvalidFilter::UnknownFunction(plain.to_owned()))
}
