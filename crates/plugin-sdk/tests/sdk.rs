//! The answers of a plugin that is written with the SDK.

use injerto_plugin_sdk::{
    Activation, Backbone, Builder, Conv2D, Description, Descriptor, Entry, Graph, GraphError, Preprocessing, Value,
    WeightSet, at_least, choice, json, parameters, published,
};

choice! {
    enum Variant { Keras = "keras", Torch = "torch" }
}

parameters! {
    struct Parameters {
        /// height and width of the images,
        /// at least 8
        input_shape: [usize; 2] = [16, 16],
        /// multiplies all filters
        alpha: f64 = 1.0,
        /// whose padding
        variant: Variant = Variant::Keras,
        /// activation of the output
        activation: Activation = Activation::Relu,
        /// keep the classifier
        include_top: bool = false,
        /// filters of each stage
        filters: Vec<usize> = vec![4, 8],
    }
}

struct Tiny;

impl Backbone for Tiny {
    const NAME: &str = "tiny";
    const SUMMARY: &str = "a convolution for each stage";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 8)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        let mut net = Builder::new(Self::NAME);
        net.image(parameters.input_shape);
        for (stage, filters) in parameters.filters.iter().enumerate() {
            net.then(format!("conv{stage}"), Conv2D::new(*filters, 3).activation(parameters.activation));
        }
        net.finish()
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::zero_to_one()
    }

    fn weights(_: &Parameters) -> Vec<WeightSet> {
        vec![published::embedded("plain").requires("alpha", 1.0)]
    }

    fn embedded() -> &'static [(&'static str, &'static [u8])] {
        &[("plain", b"bytes")]
    }
}

const ALL: &[Entry] = &[Entry::of::<Tiny>()];

fn ask(parameters: &Value) -> Result<Description, String> {
    let text = Entry::describe(ALL, "tiny", &parameters.to_string())?;
    Ok(serde_json::from_str(&text).expect("a description"))
}

#[test]
fn the_descriptor_says_each_default_comment_and_choice_once() {
    let all: Vec<Descriptor> = serde_json::from_str(&Entry::descriptors(ALL).expect("JSON")).expect("descriptors");
    let parameter = |name: &str| &all[0].parameters[name];
    assert_eq!(all[0].parameters.len(), 6);
    assert_eq!(parameter("input_shape").default, json!([16, 16]));
    assert_eq!(parameter("input_shape").doc, "height and width of the images, at least 8");
    assert_eq!(parameter("variant").default, json!("keras"));
    assert_eq!(parameter("variant").choices, ["keras", "torch"]);
    assert_eq!(parameter("activation").choices.len(), 11);
    assert_eq!(parameter("alpha").choices, [""; 0]);
    assert_eq!(all[0].weights, ["plain"]);
}

#[test]
fn a_parameter_takes_the_given_value_or_else_its_default() {
    assert_eq!(ask(&json!({})).expect("describes").graph.output_shape().0, [12, 12, 8]);
    let given = json!({ "input_shape": [9, 8], "filters": [3], "alpha": 2, "activation": "silu" });
    assert_eq!(ask(&given).expect("describes").graph.output_shape().0, [7, 6, 3]);
}

#[test]
fn a_wrong_value_is_refused_with_the_parameter_and_its_possible_values() {
    let check = |given: Value, expected: &str| assert_eq!(ask(&given).expect_err("refused"), expected);
    check(json!({ "variant": "tf" }), r#"parameter 'variant' must be "keras" or "torch", not "tf""#);
    check(json!({ "filters": [1, -1] }), "parameter 'filters' must be a list of whole numbers, not [1,-1]");
    check(json!({ "input_shape": [8] }), "parameter 'input_shape' must be a list of two whole numbers, not [8]");
    check(json!({ "input_shape": [8, 7] }), "input_shape must be at least [8, 8], not [8, 7]");
    check(
        json!({ "include_top": 1 }),
        "parameter 'include_top' of backbone 'tiny' must be true or false, such as false, not 1",
    );
    check(
        json!({ "inclde_top": true }),
        "backbone 'tiny' has no parameter 'inclde_top' (it has: activation, alpha, filters, include_top, input_shape, \
         variant); did you mean 'include_top'?",
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_names_in_the_library() {
    let describe = |name: &str, parameters: &str| Entry::describe(ALL, name, parameters).expect_err("refused");
    assert_eq!(describe("huge", "{}"), "no backbone 'huge' in this library (it has 'tiny')");
    assert!(describe("tiny", "[]").starts_with("the parameters are not a JSON object: "));
    assert_eq!(Entry::weights(ALL, "plain"), Ok(&b"bytes"[..]));
    assert_eq!(
        Entry::weights(ALL, "fancy").expect_err("refused"),
        "no weights 'fancy' in this library (it has 'plain')"
    );
}
