//! The crate behind the hidden query's records against the vectors of RFC 9497, appendix A.1.2.

use chacha20poly1305::aead::rand_core::OsRng;
use serde_json::Value;
use voprf::{BlindedElement, Group, Ristretto255, VoprfServer};

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("text");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

#[test]
fn keys_evaluations_and_outputs_are_those_of_the_standard() {
    let file: Value = serde_json::from_str(include_str!("../vectors/voprf.json")).expect("JSON");
    let server =
        VoprfServer::<Ristretto255>::new_from_seed(&bytes(&file["seed"]), &bytes(&file["info"]))
            .expect("a key");
    assert_eq!(
        Ristretto255::serialize_elem(server.get_public_key()).to_vec(),
        bytes(&file["public"])
    );
    let list = |value: &Value| -> Vec<Vec<u8>> {
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(bytes)
            .collect()
    };
    let vectors = file["vectors"].as_array().expect("a list");
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        for (input, output) in list(&vector["input"]).iter().zip(list(&vector["output"])) {
            assert_eq!(server.evaluate(input).expect("an output").to_vec(), output);
        }
        let blinded: Vec<BlindedElement<Ristretto255>> = list(&vector["blinded"])
            .iter()
            .map(|element| BlindedElement::deserialize(element).expect("an element"))
            .collect();
        let evaluated = server
            .batch_blind_evaluate(&mut OsRng, &blinded)
            .expect("a proof");
        let evaluated: Vec<Vec<u8>> = evaluated
            .messages
            .iter()
            .map(|one| one.serialize().to_vec())
            .collect();
        assert_eq!(evaluated, list(&vector["evaluated"]));
    }
}
