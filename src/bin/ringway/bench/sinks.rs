//! The files of a report that were asked for: JSON, the page, the plots. Opened before anything is measured, so that
//! what cannot be written in the end is said at once. Another program has this file, too: it knows `output` and
//! `page`, and nothing else of `bench`.

use super::output::{Directory, Output};
use super::page::Report;
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

pub struct Sinks {
    json: Option<Output>,
    html: Option<Output>,
    svg: Option<Directory>,
}

impl Sinks {
    pub fn open(json: Option<&Path>, html: Option<&Path>, svg: Option<&Path>) -> Result<Sinks> {
        Ok(Sinks {
            json: json.map(Output::open).transpose()?,
            html: html.map(Output::open).transpose()?,
            svg: svg.map(Directory::open).transpose()?,
        })
    }

    /// `json` is the text of `report`.
    pub fn write(self, json: &str, report: &Value, interrupted: bool) -> Result<()> {
        if let Some(output) = self.json {
            output.write(json)?;
        }
        let rows = report["results"].as_array().map_or(&[][..], Vec::as_slice);
        let page = Report { machine: &report["machine"], rows, interrupted };
        if let Some(output) = self.html {
            output.write(&page.html())?;
        }
        if let Some(directory) = self.svg {
            page.svgs().iter().try_for_each(|(name, svg)| directory.write(name, svg))?;
        }
        Ok(())
    }
}
