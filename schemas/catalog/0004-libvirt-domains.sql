-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- A VM may be a domain of libvirt instead of having a QMP socket. The UUID says which domain it is, for ever; its name there is
-- what it was called last.
ALTER TABLE vm ADD COLUMN libvirt_uri TEXT;
ALTER TABLE vm ADD COLUMN domain TEXT;
ALTER TABLE vm ADD COLUMN uuid TEXT;
CREATE UNIQUE INDEX vm_by_domain ON vm (libvirt_uri, uuid) WHERE uuid IS NOT NULL;
