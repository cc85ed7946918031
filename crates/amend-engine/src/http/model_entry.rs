//! The entry of a model in a server's list, which identifies the model.

use serde_json::Value;

use super::address::Address;
use amend_core::model::EngineError;

/// A model's entry in the list of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    address: Address,
    entry: Value,
}

impl ModelEntry {
    /// Finds a model in the list of a server: the one with this name, or the first.
    ///
    /// # Errors
    /// The list does not have it.
    pub fn find(address: &Address, list: &Value, name: Option<&str>) -> Result<Self, EngineError> {
        let entries = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named = |entry: &&Value, name: &str| {
            let aliases = entry["aliases"].as_array().map(Vec::as_slice).unwrap_or_default();
            entry["id"] == name || aliases.iter().any(|alias| alias == name)
        };
        let entry = match name {
            Some(name) => entries.iter().find(|entry| is_named(entry, name)),
            None => entries.iter().find(|entry| entry["id"].is_string()),
        };
        let Some(entry) = entry else {
            let ids: Vec<&str> = entries.iter().filter_map(|entry| entry["id"].as_str()).collect();
            return Err(match name {
                Some(name) if !ids.is_empty() => EngineError::new(format!(
                    "{address} has no model {name:?}"
                ))
                .hinted(format!("choose one that it has: --endpoint-model {}", ids.join(" or "))),
                _ => EngineError::new(format!("{address} lists no model"))
                    .hinted("is it an OpenAI-compatible server, with a model loaded?"),
            });
        };
        Ok(Self { address: address.clone(), entry: entry.clone() })
    }

    /// The same model in the list of another server.
    ///
    /// # Errors
    /// The other server serves another model.
    pub fn find_same(&self, address: &Address, list: &Value) -> Result<Self, EngineError> {
        let other = Self::find(address, list, Some(self.name()))
            .or_else(|_| Self::find(address, list, None))?;
        let Some(difference) = self.difference(&other) else { return Ok(other) };
        Err(EngineError::new(format!(
            "{address} serves another model than {}: {difference}",
            self.address
        ))
        .hinted(
            "all addresses must serve the same model: remove one, or name a model that all have \
                 (--endpoint-model)",
        ))
    }

    /// The first difference to the entry of another server.
    fn difference(&self, other: &Self) -> Option<String> {
        let (mine, others) = (self.identity(), other.identity());
        if mine == others {
            return None;
        }
        let keys =
            [&others, &mine].into_iter().filter_map(Value::as_object).flat_map(|it| it.keys());
        let key = keys.into_iter().find(|key| mine[key.as_str()] != others[key.as_str()])?;
        Some(format!("its {key} is {}, not {}", others[key.as_str()], mine[key.as_str()]))
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.entry["id"].as_str().unwrap_or_default()
    }

    /// Who owns the model, which says what kind of server it is.
    pub fn owner(&self) -> Option<&str> {
        self.entry["owned_by"].as_str()
    }

    /// The entry without the fields that change between responses or restarts of a server.
    pub fn identity(&self) -> Value {
        let mut entry = self.entry.clone();
        if let Some(entry) = entry.as_object_mut() {
            entry.retain(|key, _| !["created", "permission", "max_model_len"].contains(&&**key));
        }
        if let Some(meta) = entry.pointer_mut("/meta").and_then(Value::as_object_mut) {
            meta.remove("n_ctx");
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn list(entries: &[Value]) -> Value {
        json!({ "data": entries })
    }

    #[test]
    fn the_same_model_is_found_in_any_place_of_another_list() {
        let mine = json!({"id": "m", "created": 1, "meta": {"n_params": 7, "n_ctx": 4096}});
        let others = json!({"id": "m", "created": 2, "meta": {"n_params": 7, "n_ctx": 512}});
        let model = ModelEntry::find(&address("http://a"), &list(&[mine]), None).unwrap();
        let found = model.find_same(&address("http://b"), &list(&[json!({"id": "x"}), others]));
        assert_eq!(found.unwrap().name(), "m");
    }

    #[test]
    fn another_model_is_refused_by_name() {
        let mine = json!({"id": "m", "meta": {"n_params": 7}});
        let model = ModelEntry::find(&address("http://a"), &list(&[mine]), None).unwrap();
        for (other, difference) in [
            (json!({"id": "x", "meta": {"n_params": 7}}), r#"its id is "x", not "m""#),
            (json!({"id": "m", "meta": {"n_params": 8}}), r#"its meta is {"n_params":8}, not"#),
            (
                json!({"id": "m", "meta": {"n_params": 7}, "root": "y"}),
                r#"its root is "y", not null"#,
            ),
        ] {
            let error = model.find_same(&address("http://b"), &list(&[other])).unwrap_err();
            let start = "http://b/v1 serves another model than http://a/v1: ";
            assert!(error.message.starts_with(&format!("{start}{difference}")), "{error}");
        }
    }
}
