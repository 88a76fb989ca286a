//! `tidegate demo`: Bookinfo's canary in one process. Three back ends, a port that stands for the Kubernetes Service, the
//! gateway, and traffic that shows what the weights do. Nothing but loopback and a folder is used. Start at [`run`].

mod board;
mod end;
mod folder;
mod news;
mod reviews;
mod screen;
mod service;
mod shares;
mod stage;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use crate::cli::Color;
use board::Board;
use end::End;
use news::News;
use screen::Screen;
use stage::Stage;
use traffic::Outcome;

/// How often a terminal is drawn anew.
const FRAME: Duration = Duration::from_millis(250);
/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(2);
/// The port in Bookinfo's Gateway.
pub(crate) const GATEWAY_PORT: u16 = 80;

/// What the demo is asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where the configuration is written to; a temporary folder if `None`.
    pub(crate) folder: Option<PathBuf>,
    /// What is bound for Gateway ports.
    pub(crate) port_map: Vec<(u16, u16)>,
    /// Port that stands for the Kubernetes Service; 0 for any that is free.
    pub(crate) service_port: u16,
    /// Address of the admin; port 0 for any that is free.
    pub(crate) admin: SocketAddr,
    /// When it ends by itself.
    pub(crate) duration: Option<Duration>,
    /// Colours.
    pub(crate) color: Color,
}

/// Runs the demo until it is interrupted, or its time is over.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the demo could not start: {error}"))?;
    runtime.block_on(play(options))
}

async fn play(options: &Options) -> Result<(), String> {
    let mut end = End::new(options.duration).map_err(|error| format!("signals can't be received: {error}"))?;
    let stage = Stage::set_up(options).await?;
    let mut screen = Screen::new(options.color);
    screen.tell(&stage.introduction()?);
    let (sender, outcomes) = mpsc::channel(64);
    tokio::spawn(traffic::send(stage.entrance()?, sender));
    let board = show(&stage, &mut screen, outcomes, &mut end).await;
    // The folder goes last: one that is temporary must not seem to be emptied.
    let Stage { gateway, folder: _folder, .. } = stage;
    let drained = tokio::task::spawn_blocking(move || gateway.stop()).await;
    drained.map_err(|error| format!("the gateway did not stop: {error}"))?;
    screen.keep();
    if !screen.live {
        screen.tell(&board.summary(Instant::now()));
    }
    screen.tell(&format!("Stopped; {} requests failed.", board.failed()));
    Ok(())
}

/// Counts and draws until the end.
async fn show(
    stage: &Stage,
    screen: &mut Screen,
    mut outcomes: mpsc::Receiver<(Instant, Outcome)>,
    end: &mut End,
) -> Board {
    let mut board = Board::new(Instant::now());
    let mut news = News::default();
    let mut frames = time::interval(FRAME);
    let mut lines = time::interval_at(time::Instant::now() + LINE, LINE);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some((asked, outcome)) = outcomes.recv() => board.count(asked, outcome),
            _ = frames.tick() => {
                board.configure(stage.configured(), Instant::now());
                for line in news.of(&stage.gateway.status().applied(), stage.folder.path()) {
                    screen.tell(&line);
                }
                if screen.live {
                    screen.draw(&board.picture(Instant::now()));
                }
            }
            _ = lines.tick(), if !screen.live => screen.tell(&board.summary(Instant::now())),
            () = end.reached() => {
                return board;
            }
        }
    }
}
