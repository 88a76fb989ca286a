//! Rules for ejection.

use super::values;
use crate::decode::{Path, Report};
use crate::resource::OutlierDetection;

/// What counts in a row where nothing is written.
const ERRORS: u32 = 5;

pub(super) fn check(outlier: &OutlierDetection, at: &Path<'_>, report: &mut Report) {
    values::duration(outlier.base_ejection_time.as_ref(), &at.field("baseEjectionTime"), report);
    values::duration(outlier.interval.as_ref(), &at.field("interval"), report);
    values::percent(&outlier.max_ejection_percent, &at.field("maxEjectionPercent"), report);
    values::percent(&outlier.min_health_percent, &at.field("minHealthPercent"), report);
    if outlier.consecutive_errors.value != 0 {
        let hint = Some("use consecutive5xxErrors or consecutiveGatewayErrors");
        let message = "is deprecated and has no effect";
        report.warning(outlier.consecutive_errors.position, &at.field("consecutiveErrors"), message, hint);
    }
    if let Some(failures) = &outlier.consecutive_local_origin_failures
        && failures.value > 0
        && !outlier.split_external_local_origin_errors.value
    {
        let hint = Some("write splitExternalLocalOriginErrors: true");
        let message = "needs splitExternalLocalOriginErrors";
        report.error(failures.position, &at.field("consecutiveLocalOriginFailures"), message, hint);
    }
    let field = at.field("outlierDetectionHttpErrorCodes");
    for (index, code) in outlier.outlier_detection_http_error_codes.iter().enumerate() {
        if !(100..=599).contains(&code.value) {
            let message = format_args!("must be from 100 to 599, found {}", code.value);
            report.error(code.position, &field.index(index), message, Some("write a status code"));
        }
    }
    consistent(outlier, at, report);
}

/// That each count can be reached, and any at all.
fn consistent(outlier: &OutlierDetection, at: &Path<'_>, report: &mut Report) {
    let any = outlier.consecutive_5xx_errors.as_ref().map_or(ERRORS, |count| count.value);
    match outlier.consecutive_gateway_errors.as_ref().filter(|count| count.value > 0) {
        Some(gateway) if any > 0 && gateway.value >= any => {
            let message = format_args!("has no effect: {any} errors of any kind eject an endpoint before");
            let hint = Some("write less than consecutive5xxErrors, or consecutive5xxErrors: 0");
            report.warning(gateway.position, &at.field("consecutiveGatewayErrors"), message, hint);
        }
        None if any == 0 && !outlier.split_external_local_origin_errors.value => {
            let hint = Some("write consecutive5xxErrors or consecutiveGatewayErrors");
            report.warning(outlier.position, at, "ejects nobody: no errors are counted", hint);
        }
        _ => {}
    }
}
