//! Requests that a provider refuses for a part of them: the part is replaced, and the job goes on.

use serde_json::json;

use super::rows::events_of;
use crate::support::{Answer, Provider, Test, call};

/// The start of a PNG, which is all that the program looks at.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

/// The model reads an image, which its provider refuses.
fn refused_image() -> Test {
    Test::with(Provider::Anthropic).file("owl.png", PNG).answers([
        Answer::calls([call("c1", "readImageFile", json!({"path": "owl.png"}))]),
        Answer::status(400).message("messages.2.content.0.image.source.base64: Could not process image"),
        Answer::text("Owls."),
    ])
}

#[test]
fn a_refused_image_is_replaced_and_its_owner_warned() {
    let test = refused_image();
    test.run(["run", "librarian", "q"]).assert_code(0).snapshot("providers-repairs/a-refused-image-is-replaced");
    let requests = test.server().requests();
    assert_eq!(requests.len(), 3);
    let has_image = |at: usize| requests[at].contains("iVBORw0KGgo");
    assert_eq!([has_image(1), has_image(2)], [true, false]);
    assert!(requests[2].contains("Could not process image"), "{}", requests[2].body);
}

#[test]
fn the_warning_is_an_event_and_there_is_none_without_a_refusal() {
    let events = refused_image().run(["run", "librarian", "q", "--json"]).assert_code(0).events();
    let warnings = events_of(&events, "runtimeWarning");
    let message = "the model's provider refused an image, so the model gets a note instead: \
                   messages.2.content.0.image.source.base64: Could not process image";
    assert_eq!(warnings.iter().map(|warning| &warning["message"]).collect::<Vec<_>>(), [message]);

    let taken = Test::with(Provider::Anthropic)
        .file("owl.png", PNG)
        .answers([Answer::calls([call("c1", "readImageFile", json!({"path": "owl.png"}))]), Answer::text("Owls.")]);
    let events = taken.run(["run", "librarian", "q", "--json"]).assert_code(0).events();
    assert_eq!(events_of(&events, "runtimeWarning").len(), 0);
    assert!(taken.server().requests()[1].contains("iVBORw0KGgo"));
}
