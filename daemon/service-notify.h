/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tells the service manager how we are: sd_notify (3) by hand, as it is one datagram.
 */
#pragma once

/* @state: "READY=1". Does nothing when nobody asked for it (no NOTIFY_SOCKET); what fails is logged. */
void bk_service_notify (const char *state);
