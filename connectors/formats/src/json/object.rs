//! Writes rows as JSON objects.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use laminar_connector_kit::ConnectorError;

use super::write::{WriteCell, text, writer};

/// Writes some columns of a row as the members of an object.
pub struct Members {
    members: Vec<Member>,
}

struct Member {
    column: usize,
    /// `"name":`
    label: Vec<u8>,
    write: WriteCell,
}

impl Members {
    /// The members for `columns` of the schema, in that order.
    ///
    /// # Errors
    /// `LDB-6201`: a type that JSON cannot hold.
    pub fn new(schema: &SchemaRef, columns: impl IntoIterator<Item = usize>) -> Result<Self, ConnectorError> {
        let member = |column: usize| {
            let field = schema.field(column);
            let write = writer(field).ok_or_else(|| {
                let (name, ty) = (field.name(), field.data_type());
                ConnectorError::user("LDB-6201", format!("column \"{name}\": JSON cannot hold the type {ty}; cast it"))
            })?;
            let mut label = Vec::new();
            text(field.name(), &mut label);
            label.push(b':');
            Ok(Member { column, label, write })
        };
        Ok(Self { members: columns.into_iter().map(member).collect::<Result<_, _>>()? })
    }

    /// Writes the members without braces; the columns are those of the schema.
    pub fn write(&self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
        for (index, member) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&member.label);
            let array = &columns[member.column];
            if array.is_null(row) { out.extend_from_slice(b"null") } else { (member.write)(array, row, out) }
        }
    }

    /// Writes the object.
    pub fn write_object(&self, columns: &[ArrayRef], row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write(columns, row, out);
        out.push(b'}');
    }
}
