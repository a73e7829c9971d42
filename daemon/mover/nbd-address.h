/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Where an NBD export is, and how to get in. Plain data: the strings are borrowed for the length of the call.
 */
#pragma once

#include <stdbool.h>

typedef struct {
  const char *uri;         /* nbd:, nbds:, nbd+unix: or nbds+unix: as in the NBD URI specification; or NULL: */
  const char *socket_path; /* the unix socket, then, */
  const char *export_name; /* and the export on it; NULL = the default one */

  /* With any of these, or an nbds URI, nothing is sent in the clear. */
  bool tls;                     /* as well with none of these: x509 by the system's authorities */
  const char *tls_certificates; /* folder with ca-cert.pem (client-cert.pem, client-key.pem), or NULL */
  const char *tls_psk_file;     /* keys.psk, or NULL */
  const char *tls_username;     /* in the PSK file; NULL = who runs the program */
} BkNbdAddress;
