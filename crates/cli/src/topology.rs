//! `busbar topology`: the broker's queues, declared here and nowhere else.

use anyhow::Context as _;
use busbar_messaging::topology;
use busbar_runtime::{Settings, parts};

use crate::say;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Declares every queue; what is there already stays as it is.
    Apply,
    /// Prints the queues as RabbitMQ's definitions.json.
    Export {
        /// The virtual host that the definitions are for.
        #[arg(long, default_value = "/")]
        vhost: String,
    },
    /// Shows how many wake-ups wait in each queue.
    Show,
}

pub(crate) async fn run(options: &Options, settings: &Settings) -> anyhow::Result<()> {
    let broker = parts::broker(settings)?;
    match &options.action {
        Action::Apply => {
            topology::apply(&broker).await.context("the queues cannot be declared")?;
            say(format_args!("the queues of {} are declared", broker.namespace));
        }
        Action::Export { vhost } => say(topology::export(&broker.namespace, broker.queue_type, vhost)),
        Action::Show => {
            for (queue, depth) in topology::depths(&broker).await.context("the queues cannot be read")? {
                say(format_args!("{queue:<24} {}", depth.map_or("missing".to_owned(), |depth| depth.to_string())));
            }
        }
    }
    Ok(())
}
