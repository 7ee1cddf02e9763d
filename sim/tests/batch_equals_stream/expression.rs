//! Random scalar expressions that never fail and whose values do not depend on the order of rows.

use crate::grammar::Column;

/// What an expression gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    Int,
    /// DOUBLE, a multiple of a small power of two: sums are exact.
    Double,
    /// DOUBLE, whatever: passed on, never summed.
    Inexact,
    Decimal,
    Text,
    Bool,
    Time,
}

impl Ty {
    pub const ANY: [Self; 6] = [Self::Int, Self::Double, Self::Decimal, Self::Text, Self::Bool, Self::Time];
}

pub struct Expressions<'a> {
    pub random: &'a mut fastrand::Rng,
    pub columns: &'a [Column],
}

impl Expressions<'_> {
    fn column(&mut self, ty: Ty) -> Option<String> {
        let fitting: Vec<&Column> = self.columns.iter().filter(|c| c.ty == ty).collect();
        (!fitting.is_empty()).then(|| fitting[self.random.usize(0..fitting.len())].name.clone())
    }

    /// An expression of a type.
    pub fn of(&mut self, ty: Ty, depth: u32) -> String {
        if (depth == 0 || self.random.u8(0..3) == 0)
            && let Some(column) = self.column(ty)
        {
            return column;
        }
        if depth == 0 {
            return self.literal(ty);
        }
        let choice = self.random.u8(0..8);
        match ty {
            Ty::Int => self.int(choice, depth - 1),
            Ty::Double => self.double(choice, depth - 1),
            Ty::Inexact => self.column(ty).unwrap_or_else(|| self.literal(ty)),
            Ty::Decimal => self.decimal(choice, depth - 1),
            Ty::Text => self.text(choice, depth - 1),
            Ty::Bool => self.bool(choice, depth - 1),
            Ty::Time => self.time(choice, depth - 1),
        }
    }

    fn literal(&mut self, ty: Ty) -> String {
        match ty {
            Ty::Int => self.random.i64(0..50).to_string(),
            Ty::Double | Ty::Inexact => format!("CAST({} AS DOUBLE PRECISION)", self.random.i32(0..20)),
            Ty::Decimal => format!("CAST({}.25 AS DECIMAL(10,2))", self.random.u8(0..90)),
            Ty::Text => format!("'{}'", ["x", "a", "zz"][self.random.usize(0..3)]),
            Ty::Bool => if self.random.bool() { "TRUE" } else { "FALSE" }.into(),
            Ty::Time => "TIMESTAMP '2023-11-14 22:00:01'".into(),
        }
    }

    fn case(&mut self, ty: Ty, depth: u32) -> String {
        let (condition, one, other) = (self.of(Ty::Bool, depth), self.of(ty, depth), self.of(ty, depth));
        format!("CASE WHEN {condition} THEN {one} ELSE {other} END")
    }

    fn coalesce(&mut self, ty: Ty, depth: u32) -> String {
        format!("coalesce({}, {})", self.of(ty, depth), self.literal(ty))
    }

    /// A cast of more than a column: DataFusion gives `x` and `CAST(x AS …)` one name and refuses both in one
    /// GROUP BY or list of aggregates.
    fn cast(&mut self, to: &str, depth: u32) -> String {
        format!("CAST(({} + {}) AS {to})", self.of(Ty::Int, depth), self.random.u16(0..1000))
    }

    fn int(&mut self, choice: u8, depth: u32) -> String {
        let a = self.of(Ty::Int, depth);
        match choice {
            0 => format!("({a} + {})", self.of(Ty::Int, depth)),
            1 => format!("({a} - {})", self.of(Ty::Int, depth)),
            2 => format!("({a} * {})", self.random.u8(1..5)),
            3 => format!("({a} % {})", self.random.u8(2..7)),
            4 => format!("({a} / {})", self.random.u8(2..7)),
            5 => self.case(Ty::Int, depth),
            6 => self.coalesce(Ty::Int, depth),
            _ => format!("abs({a})"),
        }
    }

    fn double(&mut self, choice: u8, depth: u32) -> String {
        let a = self.of(Ty::Double, depth);
        match choice {
            0 | 1 => format!("({a} + {})", self.of(Ty::Double, depth)),
            2 => format!("({a} * 2)"),
            3 => self.cast("DOUBLE PRECISION", depth),
            4 => format!("({a} + 0.5)"),
            5 => self.case(Ty::Double, depth),
            6 => self.coalesce(Ty::Double, depth),
            _ => format!("floor({a} + 1000)"),
        }
    }

    fn decimal(&mut self, choice: u8, depth: u32) -> String {
        let a = self.column(Ty::Decimal).unwrap_or_else(|| self.literal(Ty::Decimal));
        match choice {
            0..3 => format!("({a} + CAST('1.50' AS DECIMAL(3,2)))"),
            3 => self.cast("DECIMAL(20,2)", depth),
            4 => format!("coalesce({a}, 0)"),
            _ => a,
        }
    }

    fn text(&mut self, choice: u8, depth: u32) -> String {
        let a = self.of(Ty::Text, depth);
        match choice {
            0 => format!("upper({a})"),
            1 => format!("({a} || {})", self.of(Ty::Text, depth)),
            2 => self.cast("VARCHAR", depth),
            3 => format!("substr({a}, 1, 1)"),
            4 => self.case(Ty::Text, depth),
            5 => self.coalesce(Ty::Text, depth),
            6 => format!("nullif({a}, 'a')"),
            _ => format!("trim({a})"),
        }
    }

    fn bool(&mut self, choice: u8, depth: u32) -> String {
        let comparison = ["=", "<>", "<", "<=", ">", ">="][self.random.usize(0..6)];
        let ty = [Ty::Int, Ty::Double, Ty::Decimal, Ty::Text, Ty::Time][self.random.usize(0..5)];
        let a = self.of(ty, depth);
        match choice {
            0 | 1 => format!("({a} {comparison} {})", self.of(ty, depth)),
            2 => format!("({a} IS {}NULL)", if self.random.bool() { "NOT " } else { "" }),
            3 => format!("({} AND {})", self.of(Ty::Bool, depth), self.of(Ty::Bool, depth)),
            4 => format!("({} OR {})", self.of(Ty::Bool, depth), self.of(Ty::Bool, depth)),
            5 => format!("(NOT {})", self.of(Ty::Bool, depth)),
            6 => format!("({} IN (1, 2, 3, 50))", self.of(Ty::Int, depth)),
            _ => format!("({} LIKE '%a%')", self.of(Ty::Text, depth)),
        }
    }

    fn time(&mut self, choice: u8, depth: u32) -> String {
        let a = self.of(Ty::Time, depth);
        match choice {
            0 | 1 => format!("({a} + INTERVAL '1 second')"),
            2 => self.case(Ty::Time, depth),
            _ => a,
        }
    }
}
