//! Writing pinned keys into the files that name the hosts, with everything else in them left as it is.

use toml_edit::{ArrayOfTables, DocumentMut, Item, TableLike};

/// A key to pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    /// Address of the host, as its file has it.
    pub(crate) addr: String,
    /// Port of its SSH server.
    pub(crate) port: u16,
    /// `TYPE BASE64`.
    pub(crate) key: String,
}

/// Port of a host that says none.
const PORT: u16 = 22;

/// Pins keys in the text of a scenario (`[[provider.host]]`) or an inventory (`[[host]]`). Returns the new text and which
/// of `pins` have their host in it; none when the text is no TOML.
pub(crate) fn pin(text: &str, pins: &[Pin]) -> Option<(String, Vec<bool>)> {
    let mut document: DocumentMut = text.parse().ok()?;
    let mut found = vec![false; pins.len()];
    let root = document.as_table_mut();
    if let Some(provider) = root.get_mut("provider").and_then(Item::as_table_like_mut) {
        provider
            .get_mut("host")
            .into_iter()
            .for_each(|hosts| pin_list(hosts, pins, &mut found));
    }
    root.get_mut("host")
        .into_iter()
        .for_each(|hosts| pin_list(hosts, pins, &mut found));
    Some((document.to_string(), found))
}

fn pin_list(hosts: &mut Item, pins: &[Pin], found: &mut [bool]) {
    match hosts {
        Item::ArrayOfTables(tables) => pin_tables(tables, pins, found),
        Item::Value(toml_edit::Value::Array(array)) => {
            let tables = array.iter_mut().filter_map(|value| value.as_inline_table_mut());
            tables.for_each(|table| pin_table(table, pins, found));
        }
        _ => {}
    }
}

fn pin_tables(tables: &mut ArrayOfTables, pins: &[Pin], found: &mut [bool]) {
    tables.iter_mut().for_each(|table| pin_table(table, pins, found));
}

fn pin_table(table: &mut dyn TableLike, pins: &[Pin], found: &mut [bool]) {
    let addr = table.get("addr").and_then(Item::as_str).unwrap_or_default().to_owned();
    let port = table.get("port").and_then(Item::as_integer);
    let port = port.map_or(Some(PORT), |port| u16::try_from(port).ok());
    let wanted = pins.iter().position(|pin| pin.addr == addr && Some(pin.port) == port);
    if let Some(index) = wanted {
        table.insert("host_key", toml_edit::value(&pins[index].key));
        found[index] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pins() -> Vec<Pin> {
        let pin = |addr: &str, port| Pin {
            addr: addr.to_owned(),
            port,
            key: format!("ssh-ed25519 {addr}{port}"),
        };
        vec![pin("a", 22), pin("a", 2222), pin("b", 22)]
    }

    #[test]
    fn keys_are_pinned_where_the_hosts_are_and_nothing_else_is_touched() {
        let text = "# Why?\nschema = 1 # one\n\n[[provider.host]]\naddr = \"a\" # here\nslots = 2\n\n\
                    [[provider.host]]\naddr = \"a\"\nport = 2222\nhost_key = \"old\"\n";
        let (new, found) = pin(text, &pins()).unwrap();
        assert_eq!(found, [true, true, false]);
        let expected = "# Why?\nschema = 1 # one\n\n[[provider.host]]\naddr = \"a\" # here\nslots = 2\n\
                        host_key = \"ssh-ed25519 a22\"\n\n[[provider.host]]\naddr = \"a\"\nport = 2222\n\
                        host_key = \"ssh-ed25519 a2222\"\n";
        assert_eq!(new, expected);
        let (inventory, found) = pin("host = [{ addr = \"b\" }]\n", &pins()).unwrap();
        assert_eq!(
            (inventory.contains("ssh-ed25519 b22"), found),
            (true, vec![false, false, true])
        );
        assert_eq!(pin("{\"host\": []}", &pins()), None, "JSON is left to people");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in any::<String>()) {
            let _ = pin(&text, &pins());
        }
    }
}
