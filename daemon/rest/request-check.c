/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request-check.h"

#include "bk-types.h"

#include <stdbool.h>
#include <string.h>

gboolean
bk_request_check_id (const char *id, GError **error)
{
  if (id == NULL || bk_id_is_valid (id))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/id: must be 1 to 64 characters of [A-Za-z0-9._-]");
  return FALSE;
}

gboolean
bk_request_check_path (const char *member, const char *path, GError **error)
{
  if (path == NULL || g_path_is_absolute (path))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/%s: must be an absolute path, not '%s'", member, path);
  return FALSE;
}

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
bk_request_check_listen (const char *listen, GError **error)
{
  if (listen == NULL || strcmp (listen, "unix") == 0 || (g_str_has_prefix (listen, "tcp:") && is_tcp (listen + 4)))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "/listen: must be unix or tcp:HOST:PORT, not '%s'", listen);
  return FALSE;
}
