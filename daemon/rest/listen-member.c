/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listen-member.h"

#include "bk-error.h"

#include <stdbool.h>
#include <string.h>

/* A name, or an address; with colons in it only inside brackets. */
static bool
is_host (const char *host)
{
  size_t length = strlen (host);
  if (host[0] != '[')
    return length > 0 && strspn (host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == length;
  if (length < 3 || host[length - 1] != ']')
    return false;
  g_autofree char *inside = g_strndup (host + 1, length - 2);
  return g_hostname_is_ip_address (inside) && strchr (inside, ':') != NULL;
}

static bool
is_tcp (const char *address)
{
  const char *colon = strrchr (address, ':');
  if (colon == NULL)
    return false;
  g_autofree char *host = g_strndup (address, (size_t)(colon - address));
  return is_host (host) && g_ascii_string_to_unsigned (colon + 1, 10, 0, G_MAXUINT16, NULL, NULL);
}

gboolean
bk_listen_member_check (const char *listen, GError **error)
{
  if (listen == NULL || strcmp (listen, "unix") == 0 || (g_str_has_prefix (listen, "tcp:") && is_tcp (listen + 4)))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: must be unix or tcp:HOST:PORT, not '%s'", listen);
  return FALSE;
}
