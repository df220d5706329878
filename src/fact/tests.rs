//! Tests of facts: their ids, kinds and JSON.

use super::*;

#[test]
fn made_ids_are_version_7_sorted_and_reproducible() {
    let stamp = Stamp { at: 1_771_000_000_000, seed: 42 };
    let make = || {
        let mut ids = IdGenerator::new(stamp);
        (0..300).map(|_| ids.id()).collect::<Vec<_>>()
    };
    let ids = make();
    assert_eq!(ids, make());
    assert!(ids.is_sorted());
    assert!(ids.iter().all(|id| id.as_bytes().get(14) == Some(&b'7')), "{:?}", ids.first());
}

#[test]
fn the_kinds_are_those_that_can_be_read() {
    for kind in KINDS {
        let read = serde_json::from_value::<Fact>(serde_json::json!({ "at": 1, "seed": 2, "fact": kind }));
        let refused = read.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!refused.contains("unknown variant"), "{kind}: {refused}");
    }
    let dreamt = serde_json::json!({ "at": 1, "seed": 2, "fact": "dreamt" });
    let unknown = serde_json::from_value::<Fact>(dreamt).unwrap_err();
    let listed: Vec<String> = KINDS.iter().map(|kind| format!("`{kind}`")).collect();
    let expected = format!("unknown variant `dreamt`, expected one of {}", listed.join(", "));
    assert_eq!(unknown.to_string(), expected);
}

#[test]
fn a_fact_is_one_flat_object() {
    let fact = Fact::new(Stamp { at: 5, seed: u64::MAX }, FactBody::Interrupted);
    let text = serde_json::to_string(&fact).unwrap();
    assert_eq!(text, r#"{"at":5,"seed":18446744073709551615,"fact":"interrupted"}"#);
    assert_eq!(serde_json::from_str::<Fact>(&text).unwrap(), fact);
}

#[test]
fn a_fact_is_read_whatever_the_order_of_its_keys() {
    let result = r#"{"id":"c1","skillName":"s","toolName":"t","result":[{"type":"textPart","text":"tawny"}]}"#;
    let texts = [
        format!(r#"{{"at":5,"seed":1,"fact":"toolReturned","result":{result},"chain":"ab"}}"#),
        format!(r#"{{"chain":"ab","result":{result},"fact":"toolReturned","seed":1,"at":5}}"#),
    ];
    let facts: Vec<Fact> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(facts[0], facts[1]);
    assert!(matches!(&facts[0].body, FactBody::ToolReturned { result } if result.id == "c1"), "{:?}", facts[0]);
    let without = serde_json::from_str::<Fact>(r#"{"at":5,"seed":1,"fact":"toolReturned"}"#).unwrap_err();
    assert!(without.to_string().starts_with("missing field `result`"), "{without}");
}
