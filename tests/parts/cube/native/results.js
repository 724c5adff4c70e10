// Results as the REST API returns them, by Cube's own code: @cubejs-backend/api-gateway 1.1.9 was the last to do in
// JavaScript what the native add-on does today. package.json installs it under the name cube-js-transform.
'use strict';

const { transformData } = require('cube-js-transform/dist/src/helpers/transformData');

// {members, columns}, which the native package's JavaScript has packed, -> one object for each row; before Cube 1.6 the
// rows come as they are
function rowsOf(packed) {
  if (Array.isArray(packed)) return packed;
  const { members, columns } = JSON.parse(Buffer.from(packed).toString('utf8'));
  const length = columns.length ? columns[0].length : 0;
  return Array.from({ length }, (_, row) => (
    Object.fromEntries(members.map((member, column) => [member, columns[column][row]]))
  ));
}

function withData(transform, rows, root) {
  const { aliasToMemberNameMap, annotation, query, queryType, resType } = transform;
  return { ...root, data: transformData(aliasToMemberNameMap, annotation, rowsOf(rows), query, queryType, resType) };
}

const packed = (content) => Buffer.from(JSON.stringify(content));

module.exports = {
  rowsOf,
  finalResult: (transform, rows, root) => packed(withData(transform, rows, root)),
  finalResults: (transforms, rows, root) => packed({
    ...root,
    results: root.results.map((result, index) => withData(transforms[index], rows[index], result)),
  }),
};
